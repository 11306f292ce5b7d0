//! `cargo xtask tidy`: the style rules that a machine can check.
//!
//! An *error* fails the task. A *note* is something to read with judgement: a long file may be
//! right to be long.

use std::{fs, path::Path, process::Command};

use crate::{
    error::{Error, Result},
    process,
    workspace::Workspace,
};

/// Columns of a comment; rustfmt keeps code to the same.
const LINE_COLUMNS_MAX: usize = 100;
/// Lines of a file of Rust, its tests not counted.
const FILE_LINES_MAX: usize = 600;
/// What lies at the top of the repository, besides dotfiles. ARCHITECTURE.md says what each is.
const TOP_LEVEL: [&str; 13] = [
    "ARCHITECTURE.md",
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
/// Module names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "helper", "helpers", "util", "utils", "misc", "manager", "common", "stuff",
];
/// Crates that are `no_std`, so that a clock, a thread or a file there does not compile.
const NO_STD: [&str; 2] = ["broker/core/src/lib.rs", "broker/link/src/lib.rs"];
/// What each of our crates may depend on of ours.
const ARROWS: [(&str, &[&str]); 5] = [
    ("protocol", &[]),
    ("core", &["sedge-protocol"]),
    ("storage", &["sedge-protocol"]),
    ("plugin", &[]),
    ("link", &[]),
];
/// Crates that the broker does not link: an allocator costs 8 MiB when idle, another runtime or TLS
/// library is a second of what there is.
const FORBIDDEN_CRATES: [&str; 5] = [
    "async-std",
    "mimalloc",
    "native-tls",
    "openssl",
    "jemallocator",
];

/// Checks everything and prints what is wrong.
pub fn run(workspace: &Workspace) -> Result<()> {
    let files = listed_files(workspace)?;
    let mut findings = Findings::default();
    check_top_level(&files, &mut findings);
    for file in &files {
        check_name(file, &mut findings);
        if Path::new(file)
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            let path = workspace.root.join(file);
            let text = fs::read_to_string(&path).map_err(Error::file(path))?;
            check_source(file, &text, &mut findings);
        }
    }
    check_no_std(workspace, &mut findings)?;
    check_arrows(workspace, &mut findings)?;
    check_dependencies(workspace, &mut findings)?;
    findings.print();
    match findings.errors.len() {
        0 => Ok(()),
        failed => Err(Error::Checks { failed }),
    }
}

/// What was found, in the order of looking.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<String>,
    notes: Vec<String>,
}

impl Findings {
    fn print(&self) {
        for note in &self.notes {
            println!("note: {note}");
        }
        for error in &self.errors {
            println!("error: {error}");
        }
        println!(
            "tidy: {} errors, {} notes",
            self.errors.len(),
            self.notes.len()
        );
    }
}

/// Files that git knows or would take, as paths from the top.
fn listed_files(workspace: &Workspace) -> Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = process::output(
        Command::new("git")
            .args(arguments)
            .current_dir(&workspace.root),
    )?;
    let there = |file: &&str| workspace.root.join(file).is_file();
    Ok(listed.lines().filter(there).map(str::to_owned).collect())
}

fn check_top_level(files: &[String], findings: &mut Findings) {
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

fn check_name(file: &str, findings: &mut Findings) {
    let empty = |part: &str| EMPTY_NAMES.contains(&part.strip_suffix(".rs").unwrap_or(part));
    if file.split('/').any(empty) {
        findings
            .errors
            .push(format!("{file}: a name that does not say what is inside"));
    }
}

fn check_source(file: &str, text: &str, findings: &mut Findings) {
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX && !is_unbreakable(line) {
            findings
                .errors
                .push(format!("{file}:{}: {columns} columns", number + 1));
        }
    }
    let lines = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    let is_test = file.starts_with("tests/") || file.ends_with("tests.rs");
    if lines > FILE_LINES_MAX && !is_test {
        findings
            .notes
            .push(format!("{file}: {lines} lines without its tests"));
    }
}

/// Code, which rustfmt breaks where it can be; a link; a row of a table.
fn is_unbreakable(line: &str) -> bool {
    match line.trim_start().strip_prefix("//") {
        None => true,
        Some(comment) => {
            let text = comment.trim_start_matches(['/', '!']).trim_start();
            text.contains("http") || text.starts_with('|')
        }
    }
}

fn check_no_std(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    for file in NO_STD {
        let path = workspace.root.join(file);
        let text = fs::read_to_string(&path).map_err(Error::file(path))?;
        if !text.lines().any(|line| line.trim() == "#![no_std]") {
            findings.errors.push(format!("{file}: lacks #![no_std]"));
        }
    }
    Ok(())
}

/// The crates' manifests keep to the map: who may import whom.
fn check_arrows(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    for (name, allowed) in ARROWS {
        let path = workspace.root.join("broker").join(name).join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let manifest: toml::Table = toml::from_str(&text).map_err(|error| Error::Content {
            path,
            wrong: error.to_string(),
        })?;
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for crate_name in dependencies.into_iter().flat_map(toml::Table::keys) {
            let ours = crate_name == "sedge" || crate_name.starts_with("sedge-");
            if ours && !allowed.contains(&crate_name.as_str()) {
                findings
                    .errors
                    .push(format!("broker/{name} must not depend on {crate_name}"));
            }
        }
    }
    Ok(())
}

/// What the broker links, all features on: nothing forbidden, and of tokio at most the channels
/// that hyper uses.
fn check_dependencies(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    let format = "{p}|{f}";
    let arguments = [
        "tree",
        "--locked",
        "--package",
        "sedge",
        "--all-features",
        "--edges",
        "normal",
    ];
    let tree = process::output(
        workspace
            .cargo(&arguments)
            .args(["--prefix", "none", "--format", format]),
    )?;
    for line in tree.lines() {
        let (package, features) = line.split_once('|').unwrap_or((line, ""));
        let name = package.split(' ').next().unwrap_or_default();
        if FORBIDDEN_CRATES.contains(&name) {
            findings
                .errors
                .push(format!("the broker must not link {name}"));
        }
        let runtime = |feature: &str| feature == "rt" || feature == "net" || feature == "full";
        if name == "tokio" && features.split(',').any(runtime) {
            findings
                .errors
                .push("the broker must not link tokio's runtime".to_owned());
        }
    }
    findings.errors.dedup();
    Ok(())
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
        assert_eq!(errors(|found| check_source("a.rs", &long, found)), 1);
        assert_eq!(
            errors(|found| check_source("a.rs", &long[..LINE_COLUMNS_MAX], found)),
            0
        );
        let link = format!("// https://example.org/{long}");
        assert_eq!(errors(|found| check_source("a.rs", &link, found)), 0);
    }

    #[test]
    fn long_files_are_noted_without_their_tests() {
        let notes = |text: &str| {
            let mut findings = Findings::default();
            check_source("broker/a.rs", text, &mut findings);
            findings.notes.len()
        };
        let code = "x\n".repeat(FILE_LINES_MAX);
        assert_eq!(notes(&format!("{code}#[cfg(test)]\n{code}")), 0);
        assert_eq!(notes(&format!("{code}x\n#[cfg(test)]\n")), 1);
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
