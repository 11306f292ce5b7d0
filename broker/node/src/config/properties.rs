//! Keys from a file in the form of Kafka's `server.properties`: one `KEY=VALUE` per line, as read
//! by Java's `Properties`.

use std::path::Path;

use zeroize::Zeroizing;

use super::error::Problem;
use super::lines::Lines;
use super::{Settings, Source};

/// Returns whether a file of this name is read in this form.
pub fn is_named_so(path: &Path) -> bool {
    path.extension().is_some_and(|of| of == "properties")
}

/// Parses the text of a file.
pub fn parse(path: &Path, text: &str, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let mut seen = Lines::default();
    for (line, text) in logical_lines(text) {
        let text = Zeroizing::new(text);
        let (key, value) = split(&text);
        let (Some(key), Some(value)) = (unescape(key), unescape(value).map(Zeroizing::new)) else {
            problems.push(Problem::Syntax {
                path: path.to_path_buf(),
                line,
                message: "`\\u` needs the four hexadecimal digits of a character after it"
                    .to_owned(),
            });
            continue;
        };
        if key.is_empty() {
            problems.push(Problem::Syntax {
                path: path.to_path_buf(),
                line,
                message: "the key is empty; write a name before the `=`".to_owned(),
            });
        } else if seen.is_new(&key, line, path, problems) {
            let path = path.to_path_buf();
            settings.put(&key, value.trim_end(), Source::File { path, line });
        }
    }
}

/// Returns the lines with content, with their numbers. A line that ends in an odd number of
/// backslashes continues in the next, without the next line's leading space.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if !goes_on && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let is_cut = backslashes % 2 == 1;
        let content = if is_cut {
            line.strip_suffix('\\').unwrap_or(line)
        } else {
            line
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, begun)) => begun.push_str(content),
            None => lines.push((number, content.to_owned())),
        }
        goes_on = is_cut;
    }
    lines
}

/// Splits a line at the first `=`, `:` or space that has no backslash before it.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let ends = |letter: char| {
        let ends = !is_escaped && (matches!(letter, '=' | ':') || letter.is_whitespace());
        is_escaped = letter == '\\' && !is_escaped;
        ends
    };
    let end = line.find(ends).unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start())
}

/// Returns `None` for a `\u` that names no letter.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let is_hex = digits.len() == 4 && digits.chars().all(|of| of.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| is_hex)?;
                plain.push(char::from_u32(code)?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let (mut settings, mut problems) = (Settings::default(), Vec::new());
        parse(
            Path::new("s.properties"),
            text,
            &mut settings,
            &mut problems,
        );
        if let Some(problem) = problems.first() {
            return Err(problem.to_string());
        }
        let all = settings.iter();
        Ok(all
            .map(|(key, setting)| (key.to_owned(), setting.value.text().to_owned()))
            .collect())
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected = expected
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()));
            assert_eq!(read(text), Ok(expected.collect()), "{text:?}");
        };
        check("", &[]);
        check("# a\n  ! b\n\n \t\n", &[]);
        check(
            "a=1\nb = 2 \nc: 3\nd 4\r\ne",
            &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "")],
        );
        check("a=b=c:d # no comment", &[("a", "b=c:d # no comment")]);
        check(
            "a = x,\\\n    y,\\\n  # z\nb=1",
            &[("a", "x,y,# z"), ("b", "1")],
        );
        check("a=c:\\\\\nb=1", &[("a", "c:\\"), ("b", "1")]);
        check("a\\=b\\ c = \\u00e4\\t.", &[("a=b c", "ä\t.")]);
        check("a=1\\", &[("a", "1")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |text: &str, part: &str| {
            let said = read(text).unwrap_err();
            assert!(said.contains(part), "{text:?}: {said}");
        };
        check(
            "a=1\n\n=2",
            "s.properties:3: the key is empty; write a name before the `=`",
        );
        check("a=\\u00g0", "s.properties:1");
        check("a=\\ud800", "s.properties:1");
        check(
            "a=1\\\n2\na=3",
            "s.properties:3: `a` is already set in line 1",
        );
    }
}
