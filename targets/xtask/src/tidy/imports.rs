//! Reads a source file's references to others: its `mod` lines, its `use` lines, and the paths in
//! its code.

use std::collections::BTreeSet;

use super::tokens::{Kind, Token};

/// A file's references to modules.
#[derive(Debug, Default)]
pub struct Spoken {
    /// Modules declared with `mod NAME;`, each with the modules of this file around it.
    pub declared: Vec<Vec<String>>,
    /// Paths that the file names.
    pub paths: Vec<Named>,
    /// Names of the file's items.
    pub defined: BTreeSet<String>,
}

/// A path in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The segments, which may include `crate`, `super` and `self`.
    pub segments: Vec<String>,
    /// The modules of this file around the path.
    pub inside: Vec<String>,
    pub line: usize,
    pub by: By,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A `use` line, with the name that it introduces.
    Use(String),
    /// A `use` line that ends in `*`.
    Glob,
    /// Code, as `crate::a::b()`.
    Code,
}

/// Reads the references in `tokens`.
pub fn read(tokens: &[Token]) -> Spoken {
    let mut reader = Reader {
        tokens,
        at: 0,
        spoken: Spoken::default(),
        inside: Vec::new(),
        depth: 0,
    };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.spoken
}

/// Keywords before the name of an item.
const DEFINING: [&str; 8] = [
    "struct", "enum", "union", "trait", "type", "fn", "const", "static",
];

#[derive(Debug)]
struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    spoken: Spoken,
    /// Modules with a body around this place, and how deep their bodies are nested.
    inside: Vec<(String, usize)>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn step(&mut self) {
        let Some(kind) = self.kind(0) else { return };
        match kind {
            Kind::Mark('{') => {
                self.depth += 1;
                self.at += 1;
            }
            Kind::Mark('}') => {
                self.inside.pop_if(|(_, depth)| *depth == self.depth);
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
            }
            Kind::Word("mod") => self.module(),
            // `use<'a>` is a bound, not an import.
            Kind::Word("use") if self.kind(1) != Some(Kind::Mark('<')) => {
                self.at += 1;
                self.use_tree(&[]);
            }
            Kind::Word(word) if self.kind(1) == Some(Kind::Separator) && self.is_first() => {
                self.path_in_code(word);
            }
            Kind::Word(word) => {
                if DEFINING.contains(&word)
                    && let Some(Kind::Word(name)) = self.kind(1)
                {
                    self.spoken.defined.insert(name.to_owned());
                }
                self.at += 1;
            }
            _ => self.at += 1,
        }
    }

    fn kind(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| token.kind)
    }

    /// Returns whether a path can begin here.
    fn is_first(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| self.tokens[at].kind);
        before != Some(Kind::Separator)
    }

    fn around(&self) -> Vec<String> {
        self.inside.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Reads a module: `mod NAME;` declares a file, `mod NAME {` begins a module of this one.
    fn module(&mut self) {
        if let Some(Kind::Word(name)) = self.kind(1) {
            match self.kind(2) {
                Some(Kind::Mark(';')) => {
                    let mut path = self.around();
                    path.push(name.to_owned());
                    self.spoken.declared.push(path);
                }
                Some(Kind::Mark('{')) => self.inside.push((name.to_owned(), self.depth + 1)),
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
    }

    /// Reads one tree of a `use` line behind `before`, the path in front of a group.
    fn use_tree(&mut self, before: &[String]) {
        let mut segments = before.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.kind(0) {
                Some(Kind::Word("as")) => {
                    if let Some(Kind::Word(name)) = self.kind(1) {
                        self.name(segments, line, By::Use(name.to_owned()));
                    }
                    self.at += 2;
                    return;
                }
                Some(Kind::Word(word)) => segments.push(word.to_owned()),
                Some(Kind::Separator) => {}
                Some(Kind::Mark('*')) => {
                    self.at += 1;
                    self.name(segments, line, By::Glob);
                    return;
                }
                Some(Kind::Mark('{')) => {
                    self.at += 1;
                    while !matches!(self.kind(0), None | Some(Kind::Mark('}' | ';'))) {
                        self.use_tree(&segments);
                        if self.kind(0) == Some(Kind::Mark(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                // `,`, `}` or `;`, or a mark of a macro, ends the path.
                end => {
                    if segments.len() > before.len() {
                        self.name_last(segments, line);
                    }
                    if !matches!(end, None | Some(Kind::Mark(',' | '}' | ';'))) {
                        self.at += 1;
                    }
                    return;
                }
            }
            self.at += 1;
        }
    }

    /// Adds a path that introduces its last segment; `a::{self}` introduces `a`.
    fn name_last(&mut self, mut segments: Vec<String>, line: usize) {
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let last = segments.last().cloned().unwrap_or_default();
        self.name(segments, line, By::Use(last));
    }

    fn path_in_code(&mut self, first: &str) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![first.to_owned()];
        self.at += 1;
        while let (Some(Kind::Separator), Some(Kind::Word(word))) = (self.kind(0), self.kind(1)) {
            segments.push(word.to_owned());
            self.at += 2;
        }
        self.name(segments, line, By::Code);
    }

    fn name(&mut self, segments: Vec<String>, line: usize, by: By) {
        self.spoken.paths.push(Named {
            segments,
            inside: self.around(),
            line,
            by,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tokens, *};

    fn named(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for path in read(&tokens::split(text)).paths {
            let place = path.inside.join("/");
            let segments = path.segments.join("::");
            let by = match path.by {
                By::Use(name) => format!(" as {name}"),
                By::Glob => " *".to_owned(),
                By::Code => String::new(),
            };
            found.push(format!("{place}:{} {segments}{by}", path.line));
        }
        found
    }

    #[test]
    fn use_lines_are_read_with_their_groups() {
        let text = "use crate::a::B;\n\
                    pub use super::{\n    c::{self, D as E},\n    f::*,\n    G,\n};\nuse {h, self::i::J};";
        assert_eq!(
            named(text),
            [
                ":1 crate::a::B as B",
                ":3 super::c as c",
                ":3 super::c::D as E",
                ":4 super::f *",
                ":5 super::G as G",
                ":7 h as h",
                ":7 self::i::J as J",
            ]
        );
    }

    #[test]
    fn paths_in_code_are_read() {
        let text =
            "fn f(a: crate::a::A) -> impl B + use<'_> { <C as super::d::D>::e(); $crate::g!() }";
        assert_eq!(
            named(text),
            [":1 crate::a::A", ":1 super::d::D", ":1 crate::g"]
        );
    }

    #[test]
    fn modules_of_the_file_are_told_from_declared_ones() {
        let text = "mod a; pub mod b { use super::C; mod d; fn f() { use e::F; } } use g::H;";
        assert_eq!(
            named(text),
            ["b:1 super::C as C", "b:1 e::F as F", ":1 g::H as H"]
        );
        let spoken = read(&tokens::split(text));
        assert_eq!(spoken.declared, [vec!["a"], vec!["b", "d"]]);
    }
}
