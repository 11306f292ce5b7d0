//! `cargo xtask tidy`: the style rules that a machine can check.
//!
//! An *error* fails the task. A *note* needs judgement: a long function may be right, and one in a
//! hundred is allowed.

mod circles;
mod dependencies;
mod files;
mod imports;
mod layers;
mod lengths;
mod licences;
mod modules;
mod service;
mod tokens;
mod unsafe_code;

use std::{fs, path::Path, process::Command};

use circles::Exception;
use lengths::Functions;
use modules::Tree;
use unsafe_code::Blocks;

use crate::{
    error::{Error, Result},
    process,
    workspace::Workspace,
};

/// Our crates, folders of `broker/`.
const CRATES: [&str; 6] = ["protocol", "core", "storage", "plugin", "link", "node"];
/// Circles that are allowed.
const EXCEPTIONS: [Exception; 0] = [];

/// Checks everything and prints the findings.
pub fn run(workspace: &Workspace) -> Result<()> {
    let mut findings = Findings::default();
    check_files(workspace, &mut findings)?;
    check_crates(workspace, &mut findings)?;
    dependencies::check_no_std(workspace, &mut findings)?;
    dependencies::check_arrows(workspace, &mut findings)?;
    dependencies::check_linked(workspace, &mut findings)?;
    licences::check(workspace, &mut findings)?;
    service::check(workspace, &mut findings);
    findings.print();
    match findings.errors.len() {
        0 => Ok(()),
        failed => Err(Error::Checks { failed }),
    }
}

/// The findings, in the order of the checks.
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

/// Checks names, columns and lengths of all files.
fn check_files(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    let listed = listed_files(workspace)?;
    files::check_top_level(&listed, findings);
    let mut blocks = Blocks::default();
    for file in &listed {
        files::check_name(file, findings);
        if Path::new(file)
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            let text = read(workspace, file)?;
            files::check_columns(file, &text, findings);
            blocks.count(file, &text, findings);
            let lines = lengths::lines(&text);
            if lines > lengths::FILE_LINES_MAX && !files::is_test(file) {
                let told = format!("{file}: {lines} lines without its tests");
                findings.errors.push(told);
            }
        }
    }
    blocks.compare(&read(workspace, unsafe_code::DOCUMENT)?, findings);
    Ok(())
}

/// Checks the broker's crates, without their tests: circles, the map of node, long functions.
fn check_crates(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    let map = layers::read(&read(workspace, "ARCHITECTURE.md")?);
    let mut functions = Functions::default();
    for name in CRATES {
        let folder = format!("broker/{name}/src");
        let tree = Tree::read(&folder, &Tree::from_disk(&workspace.root))
            .map_err(Error::file(workspace.root.join(folder)))?;
        findings.errors.extend(tree.lost.iter().cloned());
        let (circles, idle) = circles::find(name, &tree, &EXCEPTIONS);
        findings.errors.extend(circles);
        findings.errors.extend(idle);
        if name == "node" {
            match &map {
                Some(map) => findings.errors.extend(layers::check(&tree, map)),
                None => findings.errors.push(layers::lacking()),
            }
        }
        for module in &tree.modules {
            functions.count(&module.file, &read(workspace, &module.file)?);
        }
    }
    if functions.are_short() {
        findings.notes.extend(functions.told());
    } else {
        findings.errors.extend(functions.told());
    }
    Ok(())
}

fn read(workspace: &Workspace, file: &str) -> Result<String> {
    let path = workspace.root.join(file);
    fs::read_to_string(&path).map_err(Error::file(path))
}

/// Returns the files that git tracks or would add, as paths from the top.
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
