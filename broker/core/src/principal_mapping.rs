//! `ssl.principal.mapping.rules`: maps the distinguished name of a client's certificate to the name
//! of its principal (KIP-371).
//!
//! Rules are a list of `DEFAULT`, which uses the name unchanged, and of
//! `RULE:PATTERN/REPLACEMENT/[LU]`, which applies to a name that the pattern matches as a whole,
//! inserts the pattern's groups into the replacement, and converts the result to lower or upper
//! case. The first rule that applies is used. The caller compiles the patterns.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A compiled regular expression.
pub trait Pattern: Sized {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The reason why the pattern is invalid.
    fn compile(text: &str) -> Result<Self, String>;

    /// Matches the whole of `text`. Returns the matches of the groups, the whole match first.
    fn groups<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>>;
}

/// The rules of a listener.
#[derive(Clone, Debug)]
pub struct MappingRules<P> {
    rules: Vec<Rule<P>>,
}

#[derive(Clone, Debug)]
enum Rule<P> {
    Default,
    Replace {
        pattern: P,
        replacement: String,
        case: Case,
    },
}

#[derive(Clone, Copy, Debug)]
enum Case {
    AsIs,
    Lower,
    Upper,
}

impl<P: Pattern> MappingRules<P> {
    /// Parses rules.
    ///
    /// # Errors
    /// The reason why the first invalid rule is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (rule, behind) = next_rule(rest)?;
            rules.extend(rule);
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(',') {
                Some(behind) => behind.trim_start(),
                None if behind.is_empty() => behind,
                None => return Err(unknown(behind)),
            };
        }
        Ok(Self { rules })
    }

    /// Returns the name of the principal. `None` if no rule applies.
    #[must_use]
    pub fn apply(&self, distinguished_name: &str) -> Option<String> {
        self.rules
            .iter()
            .find_map(|rule| rule.apply(distinguished_name))
    }
}

fn unknown(text: &str) -> String {
    format!("`{text}` is not a valid rule; write DEFAULT or RULE:PATTERN/REPLACEMENT/[LU]")
}

/// Returns the first rule, or `None` if it is empty, and the text behind it.
fn next_rule<P: Pattern>(text: &str) -> Result<(Option<Rule<P>>, &str), String> {
    if text.starts_with(',') {
        return Ok((None, text));
    }
    if let Some(behind) = text.strip_prefix("DEFAULT") {
        return Ok((Some(Rule::Default), behind));
    }
    let (pattern, behind) = text
        .strip_prefix("RULE:")
        .and_then(split_at_slash)
        .ok_or_else(|| unknown(text))?;
    let (replacement, behind) = split_at_slash(behind).ok_or_else(|| unknown(text))?;
    let (case, behind) = match behind.as_bytes().first() {
        Some(b'L') => (Case::Lower, &behind[1..]),
        Some(b'U') => (Case::Upper, &behind[1..]),
        _ => (Case::AsIs, behind),
    };
    let compiled = P::compile(pattern)
        .map_err(|why| format!("`{pattern}` is not a valid regular expression: {why}"))?;
    let rule = Rule::Replace {
        pattern: compiled,
        replacement: replacement.to_string(),
        case,
    };
    Ok((Some(rule), behind))
}

/// Splits at the first slash that has no backslash before it.
fn split_at_slash(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let at = text.find(|letter: char| {
        let ends = letter == '/' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    })?;
    Some((&text[..at], &text[at + 1..]))
}

impl<P: Pattern> Rule<P> {
    fn apply(&self, name: &str) -> Option<String> {
        match self {
            Self::Default => Some(name.to_string()),
            Self::Replace {
                pattern,
                replacement,
                case,
            } => {
                let name = fill_in(replacement, &pattern.groups(name)?);
                Some(match case {
                    Case::AsIs => name,
                    Case::Lower => name.to_lowercase(),
                    Case::Upper => name.to_uppercase(),
                })
            }
        }
    }
}

/// Replaces `$1`, `$2`, … by groups. As in Java, the longest run of digits that is the number of a
/// group counts. A number without a group stays unchanged. A backslash makes the next letter
/// literal.
fn fill_in(replacement: &str, groups: &[Option<&str>]) -> String {
    let mut name = String::new();
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next()),
            '$' => {
                let mut number = None;
                while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
                    let longer = number.unwrap_or(0_usize) * 10 + digit as usize;
                    if longer >= groups.len() {
                        break;
                    }
                    number = Some(longer);
                    letters.next();
                }
                match number {
                    Some(number) => name.push_str(groups[number].unwrap_or_default()),
                    None => name.push('$'),
                }
            }
            letter => name.push(letter),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns like `CN=(*),…` for these tests, without an engine: `*` is a group of letters other
    /// than a comma, and `.*` at the end is any text.
    #[derive(Debug)]
    struct Glob(Vec<String>, bool);

    impl Pattern for Glob {
        fn compile(text: &str) -> Result<Self, String> {
            if text.contains('(') {
                return Err("a parenthesis".to_string());
            }
            let open = text.ends_with(".*");
            let text = text.trim_end_matches(".*");
            Ok(Self(text.split('*').map(str::to_string).collect(), open))
        }

        fn groups<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
            let mut groups = alloc::vec![Some(text)];
            let (first, others) = self.0.split_first()?;
            let mut rest = text.strip_prefix(first.as_str())?;
            for literal in others {
                let end = rest.find(',').unwrap_or(rest.len());
                groups.push(Some(&rest[..end]));
                rest = rest[end..].strip_prefix(literal.as_str())?;
            }
            (self.1 || rest.is_empty()).then_some(groups)
        }
    }

    fn mapped(rules: &str, name: &str) -> Result<Option<String>, String> {
        MappingRules::<Glob>::parse(rules).map(|rules| rules.apply(name))
    }

    #[test]
    fn the_first_rule_that_takes_a_name_maps_it() {
        let check = |rules: &str, name: &str, expected: Option<&str>| {
            assert_eq!(mapped(rules, name).unwrap().as_deref(), expected, "{rules}");
        };
        let name = "CN=Sensor 7,OU=Fleet,O=Acme";
        check("DEFAULT", name, Some(name));
        check("", name, None);
        check("RULE:CN=*,OU=*,O=*/$1@$2/", name, Some("Sensor 7@Fleet"));
        check("RULE:CN=*,.*/$1/L", name, Some("sensor 7"));
        check("RULE:CN=*,.*/$1/U", name, Some("SENSOR 7"));
        check("RULE:CN=*,OU=Other.*/$1/,DEFAULT", name, Some(name));
        check("RULE:CN=*,OU=Other.*/$1/", name, None);
        check(
            " , RULE:UID=*/$1/ ,\n RULE:CN=*,.*/$1/L , DEFAULT",
            name,
            Some("sensor 7"),
        );
        // A pattern must match the whole name.
        check("RULE:CN=*/$1/", name, None);
        check("RULE:CN=*,\\/x/a\\/$1\\$/", "CN=y,\\/x", Some("a/y$"));
    }

    #[test]
    fn groups_are_named_as_java_names_them() {
        let groups = [Some("all"), Some("one"), None];
        let check = |replacement: &str, expected: &str| {
            assert_eq!(fill_in(replacement, &groups), expected);
        };
        check("$0-$1-$2-$3", "all-one--$3");
        check("$12", "one2");
        check("$", "$");
        check("\\$1\\\\", "$1\\");
        check("a\\", "a");
    }

    #[test]
    fn what_is_no_rule_is_said() {
        let check = |rules: &str, part: &str| {
            let why = mapped(rules, "").unwrap_err();
            assert!(why.contains(part), "{rules}: {why}");
        };
        check("default", "write DEFAULT or RULE");
        check("RULE:a", "write DEFAULT or RULE");
        check("RULE:a/b", "write DEFAULT or RULE");
        check("RULE:a/b/X", "`X` is not a valid rule");
        check("RULE:a/b/LU", "`U` is not a valid rule");
        check("DEFAULT DEFAULT", "`DEFAULT` is not a valid rule");
        check("RULE:(/b/", "not a valid regular expression");
    }
}
