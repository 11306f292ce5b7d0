//! Rust as words and marks with their lines: as much of the language as the other checks need.
//!
//! Comments are gone, literals have no content, and `without_tests` drops what only tests see.
//! Tokens that a macro puts together are not seen.

/// A word, a mark or a literal of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind<'a>,
    /// Counted from 1.
    pub line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// An identifier or a keyword; of a raw one, what follows `r#`.
    Word(&'a str),
    /// `::`.
    Separator,
    /// Any other character that means something.
    Mark(char),
    /// A string, a character, a number or a lifetime.
    Literal,
}

/// Lines from and to, both counted.
pub type Lines = (usize, usize);

/// Splits `text` into tokens. A file that rustc takes is split as rustc does; of any other file,
/// some tokens.
pub fn split(text: &str) -> Vec<Token<'_>> {
    let mut reader = Reader {
        text,
        at: 0,
        line: 1,
    };
    std::iter::from_fn(|| reader.next()).collect()
}

/// Drops each item (field, arm, statement) that stands behind `#[cfg(test)]` or
/// `#[cfg(all(test, …))]`. Returns the rest, and the lines of what was dropped.
pub fn without_tests<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<Lines>) {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut dropped = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let end = match attribute(tokens, at) {
            Some((end, Scope::Item)) => end_of_item(tokens, end),
            Some((_, Scope::File)) => tokens.len(),
            None => {
                kept.push(tokens[at]);
                at += 1;
                continue;
            }
        };
        dropped.push((tokens[at].line, tokens[end - 1].line));
        at = end;
    }
    (kept, dropped)
}

/// What an attribute speaks of.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    /// `#[…]`.
    Item,
    /// `#![…]`.
    File,
}

/// If an attribute for tests begins at `at`: where it ends, and of what it speaks.
fn attribute(tokens: &[Token<'_>], at: usize) -> Option<(usize, Scope)> {
    let is = |index: usize, kind| tokens.get(index).is_some_and(|token| token.kind == kind);
    if !is(at, Kind::Mark('#')) {
        return None;
    }
    let (open, scope) = if is(at + 1, Kind::Mark('!')) {
        (at + 2, Scope::File)
    } else {
        (at + 1, Scope::Item)
    };
    let begins = |kinds: Vec<Kind<'static>>| {
        let mut kinds = kinds.into_iter().enumerate();
        kinds.all(|(index, kind)| is(open + index, kind))
    };
    let cfg = [Kind::Mark('['), Kind::Word("cfg"), Kind::Mark('(')];
    let alone = [&cfg[..], &[Kind::Word("test"), Kind::Mark(')')]].concat();
    let among = [
        &cfg[..],
        &[Kind::Word("all"), Kind::Mark('('), Kind::Word("test")],
    ]
    .concat();
    (begins(alone) || begins(among)).then(|| (end_of_group(tokens, open), scope))
}

/// Where what is behind an attribute ends: behind its `;`, its block or its comma, or before the
/// bracket that closes what it stands in.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    while tokens
        .get(at)
        .is_some_and(|token| token.kind == Kind::Mark('#'))
    {
        at = end_of_group(tokens, at + 1);
    }
    let begin = at;
    let word = |index: usize| match tokens.get(index).map(|token| token.kind) {
        Some(Kind::Word(word)) => word,
        _ => "",
    };
    let mut keyword = begin;
    if word(begin) == "pub" {
        keyword += 1;
        if tokens
            .get(keyword)
            .is_some_and(|token| token.kind == Kind::Mark('('))
        {
            keyword = end_of_group(tokens, keyword);
        }
    }
    let is_use = word(keyword) == "use";
    let is_item = ITEM_WORDS.contains(&word(keyword));
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::Mark('{') if !is_use => {
                let end = end_of_group(tokens, at);
                let comma = tokens.get(end).map(|token| token.kind) == Some(Kind::Mark(','));
                return end + usize::from(comma && !is_item);
            }
            Kind::Mark('{' | '(' | '[') => at = end_of_group(tokens, at),
            Kind::Mark('}' | ')' | ']') => return at,
            Kind::Mark(';') => return at + 1,
            // A comma inside the brackets of a generic ends nothing.
            Kind::Mark(',') if !is_item => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Words that an item begins with, behind its visibility.
const ITEM_WORDS: [&str; 14] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "unsafe",
    "use",
];

/// Index behind the bracket that closes the one at `open`.
pub fn end_of_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Mark('{' | '(' | '[') => depth += 1,
            Kind::Mark('}' | ')' | ']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// A place in a text.
#[derive(Debug)]
struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let line = self.line;
        let (kind, length) = match first {
            '"' => (Kind::Literal, quoted(rest, 1)),
            '\'' => (Kind::Literal, character_or_lifetime(rest)),
            ':' if rest.starts_with("::") => (Kind::Separator, 2),
            _ if first.is_ascii_digit() => (Kind::Literal, number(rest)),
            _ if is_of_word(first) => word(rest),
            _ => (Kind::Mark(first), first.len_utf8()),
        };
        self.pass(length);
        Some(Token { kind, line })
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else {
                rest.len() - rest.trim_start().len()
            };
            if length == 0 {
                return;
            }
            self.pass(length);
        }
    }

    fn pass(&mut self, length: usize) {
        let passed = &self.text[self.at..self.at + length];
        self.line += passed.matches('\n').count();
        self.at += length;
    }
}

fn is_of_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn word_length(text: &str) -> usize {
    text.find(|character| !is_of_word(character))
        .unwrap_or(text.len())
}

/// A word, or a literal with a prefix: `r"…"`, `br#"…"#`, `b'x'`, `c"…"`; or a raw identifier.
fn word(rest: &str) -> (Kind<'_>, usize) {
    let length = word_length(rest);
    let (name, behind) = rest.split_at(length);
    if !matches!(name, "r" | "b" | "br" | "c" | "cr") {
        return (Kind::Word(name), length);
    }
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    match behind[hashes..].chars().next() {
        Some('"') if name.ends_with('r') => (Kind::Literal, length + raw(behind, hashes)),
        Some('"') if hashes == 0 => (Kind::Literal, length + quoted(behind, 1)),
        Some('\'') if hashes == 0 && name == "b" => {
            (Kind::Literal, length + character_or_lifetime(behind))
        }
        Some(first) if hashes == 1 && name == "r" && is_of_word(first) => {
            let raw = &behind[1..];
            let of_raw = word_length(raw);
            (Kind::Word(&raw[..of_raw]), length + 1 + of_raw)
        }
        _ => (Kind::Word(name), length),
    }
}

/// Length of a raw string without its prefix.
fn raw(text: &str, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    let from = hashes + 1;
    text[from..]
        .find(&end)
        .map_or(text.len(), |at| from + at + end.len())
}

/// Length up to and with the quote that ends a literal; `from` is behind the one that begins it.
fn quoted(text: &str, from: usize) -> usize {
    let quote = text.as_bytes()[0];
    let mut bytes = text.bytes().enumerate().skip(from);
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote {
            return at + 1;
        }
    }
    text.len()
}

fn character_or_lifetime(text: &str) -> usize {
    let inside = &text[1..];
    let Some(first) = inside.chars().next() else {
        return 1;
    };
    let closes = inside[first.len_utf8()..].starts_with('\'');
    if first == '\\' || closes || !is_of_word(first) {
        quoted(text, 1)
    } else {
        1 + word_length(inside)
    }
}

/// `1..2` is a number and two marks, `1.5` a number.
fn number(text: &str) -> usize {
    let whole = word_length(text);
    match text[whole..].strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|next: char| next.is_ascii_digit()) => {
            whole + 1 + word_length(fraction)
        }
        _ => whole,
    }
}

/// Length of a block comment, of which one may hold another.
fn block_comment(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let (tokens, _) = without_tests(&split(text));
        tokens
            .iter()
            .filter_map(|token| match token.kind {
                Kind::Word(word) => Some(word),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn comments_and_literals_hold_no_words() {
        let text = "a // b\n/* c /* d */ e */ f(\"g \\\" h\", r#\"i \" j\"#, 'k', '\\'', b'l') \
                    'm: 1.5e3 0x_ff r#type br\"n\\\" o";
        assert_eq!(words(text), ["a", "f", "type", "o"]);
    }

    #[test]
    fn lines_are_counted_over_what_is_skipped() {
        let lines: Vec<usize> = split("a\n\"b\nc\" /*\n*/ d")
            .iter()
            .map(|token| token.line)
            .collect();
        assert_eq!(lines, [1, 2, 4]);
    }

    #[test]
    fn what_only_tests_see_is_dropped() {
        let check = |text, expected: &[&str]| assert_eq!(words(text), expected, "{text}");
        check("#[cfg(test)] mod tests; mod a;", &["mod", "a"]);
        check("#[cfg(test)] #[path = \"x\"] mod t { b } c", &["c"]);
        check("#[cfg(test)] pub(crate) use a::{b, c::{d}}; e", &["e"]);
        check("#[cfg(all(test, unix))] fn f<A, B>() { g } h", &["h"]);
        check(
            "struct S { #[cfg(test)] a: A<[u8; 2]>, b: B }",
            &["struct", "S", "b", "B"],
        );
        check(
            "match x { #[cfg(test)] A => { b }, C => d }",
            &["match", "x", "C", "d"],
        );
        check("S { a, #[cfg(test)] b }", &["S", "a"]);
        check(
            "#[cfg(not(test))] fn f() {}",
            &["cfg", "not", "test", "fn", "f"],
        );
        check("#![cfg(test)] use a;", &[]);
    }

    #[test]
    fn lines_of_tests_are_told() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n}\nfn b() {}\n#[cfg(test)]\nfn c() {\n}";
        assert_eq!(without_tests(&split(text)).1, [(2, 4), (6, 8)]);
    }
}
