//! The attributes of `sedge-plugin-sdk`, which documents them.

use proc_macro::{Delimiter, TokenStream, TokenTree};

/// Makes a filter of a function.
#[proc_macro_attribute]
pub fn filter_fn(fields: TokenStream, function: TokenStream) -> TokenStream {
    let exported = Signature::of(&function).and_then(|signature| {
        let needs = needs(fields)?;
        let config = match signature.parameters {
            1 => "",
            2 => "config",
            _ => return Err("the function has to take a record, or a record and the settings"),
        };
        let name = signature.name;
        Ok(format!(
            "::sedge_plugin_sdk::__filter_fn! {{ {name}, {needs}, {config} }}"
        ))
    });
    let added = exported.unwrap_or_else(|wrong| format!("::core::compile_error!({wrong:?});"));
    let added: TokenStream = added.parse().expect("the text above is Rust");
    function.into_iter().chain(added).collect()
}

struct Signature {
    name: String,
    parameters: usize,
}

impl Signature {
    fn of(function: &TokenStream) -> Result<Self, &'static str> {
        let mut tokens = function.clone().into_iter();
        tokens
            .find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))
            .ok_or("only a function can be a filter")?;
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return Err("the function has no name");
        };
        match tokens.next() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
                let name = name.to_string();
                let parameters = parts(group.stream()).len();
                Ok(Self { name, parameters })
            }
            _ => Err("the function must not have generic parameters"),
        }
    }
}

/// Returns the constant of the fields that the filter reads.
fn needs(fields: TokenStream) -> Result<String, &'static str> {
    let mut needs = String::from("::sedge_plugin_sdk::Needs");
    let fields = parts(fields);
    if fields.is_empty() {
        return Ok(needs + "::VALUE");
    }
    needs.push_str("::empty()");
    for field in fields {
        let [TokenTree::Ident(field)] = field.as_slice() else {
            return Err("the attribute takes names of fields, such as `key, value`");
        };
        let field = field.to_string().to_uppercase();
        needs.push_str(&format!(".union(::sedge_plugin_sdk::Needs::{field})"));
    }
    Ok(needs)
}

/// Returns what commas separate.
fn parts(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut parts = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(mark) if mark.as_char() == ',' => parts.push(Vec::new()),
            _ => parts.last_mut().expect("there is always one").push(token),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
