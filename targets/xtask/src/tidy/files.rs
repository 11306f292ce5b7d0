//! Checks names of files, and lines of comments.

use super::Findings;

/// Columns of a comment; rustfmt limits code to the same.
const LINE_COLUMNS_MAX: usize = 100;
/// Entries at the top of the repository, besides dotfiles. ARCHITECTURE.md explains each.
const TOP_LEVEL: [&str; 14] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "boards",
    "broker",
    "clippy.toml",
    "plugins",
    "rustfmt.toml",
    "targets",
    "tests",
    "wit",
];
/// Module names that say nothing about the contents.
const EMPTY_NAMES: [&str; 8] = [
    "helper", "helpers", "util", "utils", "misc", "manager", "common", "stuff",
];

pub fn check_top_level(files: &[String], findings: &mut Findings) {
    let mut names: Vec<&str> = files
        .iter()
        .filter_map(|file| file.split('/').next())
        .collect();
    names.dedup();
    for name in names {
        if !name.starts_with('.') && !TOP_LEVEL.contains(&name) {
            findings
                .errors
                .push(format!("{name}: not one of the fixed top-level names"));
        }
    }
}

pub fn check_name(file: &str, findings: &mut Findings) {
    let empty = |part: &str| EMPTY_NAMES.contains(&part.strip_suffix(".rs").unwrap_or(part));
    if file.split('/').any(empty) {
        findings.errors.push(format!(
            "{file}: this name does not say what is in the file"
        ));
    }
}

pub fn check_columns(file: &str, text: &str, findings: &mut Findings) {
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX && !is_unbreakable(line) {
            findings
                .errors
                .push(format!("{file}:{}: {columns} columns", number + 1));
        }
    }
}

/// Returns whether a Rust file has only tests.
pub fn is_test(file: &str) -> bool {
    file.split('/').any(|folder| folder == "tests") || file.ends_with("tests.rs")
}

/// Returns whether a line cannot be broken: code, which rustfmt breaks if possible; a link; a row
/// of a table.
fn is_unbreakable(line: &str) -> bool {
    match line.trim_start().strip_prefix("//") {
        None => true,
        Some(comment) => {
            let text = comment.trim_start_matches(['/', '!']).trim_start();
            text.contains("http") || text.starts_with('|')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(check: impl Fn(&mut Findings)) -> usize {
        let mut findings = Findings::default();
        check(&mut findings);
        findings.errors.len()
    }

    #[test]
    fn long_lines_are_found_and_links_let_be() {
        let long = format!("// {}", "x".repeat(LINE_COLUMNS_MAX - 2));
        assert_eq!(errors(|found| check_columns("a.rs", &long, found)), 1);
        assert_eq!(
            errors(|found| check_columns("a.rs", &long[..LINE_COLUMNS_MAX], found)),
            0
        );
        let link = format!("// https://example.org/{long}");
        assert_eq!(errors(|found| check_columns("a.rs", &link, found)), 0);
    }

    #[test]
    fn empty_names_are_found() {
        let name = |file: &'static str| errors(|found| check_name(file, found));
        assert_eq!(name("broker/node/src/utils.rs"), 1);
        assert_eq!(name("broker/misc/src/lib.rs"), 1);
        assert_eq!(name("broker/node/src/utilisation.rs"), 0);
    }

    #[test]
    fn the_top_level_is_fixed() {
        let top = |file: &str| errors(|found| check_top_level(&[file.to_owned()], found));
        assert_eq!(top("scripts/run.sh"), 1);
        assert_eq!(top(".ci/run"), 0);
        assert_eq!(top("broker/core/src/lib.rs"), 0);
    }
}
