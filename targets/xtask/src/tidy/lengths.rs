//! Checks lengths: a function fits a screen, a file a sitting. Tests are not counted.

use super::tokens::{self, Kind, Token};

/// Lines of a function, from `fn` to its last bracket.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Percentage of functions that may be longer: some tables and matches read best in one piece.
pub const LONG_FUNCTIONS_PERCENT_MAX: usize = 1;
/// Lines of a file without its tests.
pub const FILE_LINES_MAX: usize = 600;

/// Counts the lines of a file without its tests.
pub fn lines(text: &str) -> usize {
    let (_, tests) = tokens::without_tests(&tokens::split(text));
    let of_tests: usize = tests.iter().map(|(from, to)| to + 1 - from).sum();
    text.lines().count() - of_tests
}

/// The functions of all files that were counted.
#[derive(Debug, Default)]
pub struct Functions {
    pub counted: usize,
    /// The long functions, as `FILE:LINE: NAME, N lines`, each with N in front.
    pub long: Vec<(usize, String)>,
}

impl Functions {
    /// Counts the functions of a file.
    pub fn count(&mut self, file: &str, text: &str) {
        let (tokens, _) = tokens::without_tests(&tokens::split(text));
        for (at, token) in tokens.iter().enumerate() {
            if token.kind != Kind::Word("fn") {
                continue;
            }
            let Some((name, end)) = function(&tokens[at..]) else {
                continue;
            };
            self.counted += 1;
            let lines = end + 1 - token.line;
            if lines > FUNCTION_LINES_MAX {
                let told = format!("{file}:{}: {name}, {lines} lines", token.line);
                self.long.push((lines, told));
            }
        }
    }

    /// Returns the long functions, the longest first, under a line that counts them.
    pub fn told(&self) -> Vec<String> {
        if self.long.is_empty() {
            return Vec::new();
        }
        let mut long = self.long.clone();
        long.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
        let told = format!(
            "{} of {} functions are longer than {FUNCTION_LINES_MAX} lines; \
             {LONG_FUNCTIONS_PERCENT_MAX} % may be",
            long.len(),
            self.counted
        );
        let names = long.into_iter().map(|(_, name)| name);
        let lines: Vec<String> = std::iter::once(told).chain(names).collect();
        vec![lines.join("\n    ")]
    }

    /// Returns whether no more functions are long than allowed.
    pub fn are_short(&self) -> bool {
        self.long.len() * 100 <= self.counted * LONG_FUNCTIONS_PERCENT_MAX
    }
}

/// Returns the name of the function that `tokens` begin with, and the line on which it ends. A type
/// (`fn(u8)`) has no name, and a declaration has no end.
fn function<'a>(tokens: &[Token<'a>]) -> Option<(&'a str, usize)> {
    let Kind::Word(name) = tokens.get(1)?.kind else {
        return None;
    };
    let mut at = 2;
    loop {
        match tokens.get(at)?.kind {
            Kind::Mark(';') => return None,
            Kind::Mark('{') => {
                let end = tokens::end_of_group(tokens, at);
                return Some((name, tokens[end - 1].line));
            }
            Kind::Mark('(' | '[') => at = tokens::end_of_group(tokens, at),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(text: &str) -> (usize, Vec<usize>) {
        let mut functions = Functions::default();
        functions.count("a.rs", text);
        let lines = functions.long.iter().map(|(lines, _)| *lines);
        (functions.counted, lines.collect())
    }

    #[test]
    fn functions_are_counted_from_their_name_to_their_end() {
        let body = "\n".repeat(FUNCTION_LINES_MAX - 1);
        assert_eq!(long(&format!("fn a(b: [u8; 2]) {{{body}}}")), (1, vec![]));
        let one_more = format!("fn a()\nwhere A: B {{{body}}}");
        assert_eq!(long(&one_more), (1, vec![FUNCTION_LINES_MAX + 1]));
        assert_eq!(
            long(&format!("trait T {{ fn a(b: fn(u8));{body} }}")),
            (0, vec![])
        );
        assert_eq!(
            long(&format!("fn a() {{ let s = \"}}\"; /* }} */{body}\n}}"))
                .1
                .len(),
            1
        );
        assert_eq!(
            long(&format!("#[cfg(test)] fn a() {{{body}\n}}")),
            (0, vec![])
        );
    }

    #[test]
    fn tests_are_no_lines_of_a_file() {
        let text = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(lines(text), 2);
    }

    #[test]
    fn one_function_of_a_hundred_may_be_long() {
        let functions = |counted, long: usize| Functions {
            counted,
            long: vec![(71, String::new()); long],
        };
        assert!(functions(200, 2).are_short());
        assert!(!functions(199, 2).are_short());
    }
}
