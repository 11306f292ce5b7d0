//! Checks that each `unsafe` block says why it is sound, and is in the list of all of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    Findings,
    tokens::{self, Kind},
};

/// The document with the list: a table whose rows begin with the file and the number of its blocks.
pub const DOCUMENT: &str = "broker/SECURITY.md";

/// The blocks and `impl`s of each file that has any.
#[derive(Debug, Default)]
pub struct Blocks(BTreeMap<String, usize>);

impl Blocks {
    /// Counts those of a file.
    pub fn count(&mut self, file: &str, text: &str, findings: &mut Findings) {
        let lines: Vec<&str> = text.lines().collect();
        let tokens = tokens::split(text);
        for pair in tokens.windows(2) {
            let begins = matches!(pair[1].kind, Kind::Mark('{') | Kind::Word("impl"));
            if pair[0].kind != Kind::Word("unsafe") || !begins {
                continue;
            }
            *self.0.entry(file.to_owned()).or_default() += 1;
            let line = pair[0].line;
            if !is_explained(&lines[..line - 1]) {
                findings
                    .errors
                    .push(format!("{file}:{line}: no `// SAFETY:` above `unsafe`"));
            }
        }
    }

    /// Compares them with the document's list.
    pub fn compare(&self, document: &str, findings: &mut Findings) {
        let listed: BTreeMap<String, usize> = document.lines().filter_map(row).collect();
        for (file, count) in &self.0 {
            match listed.get(file) {
                None => findings.errors.push(format!(
                    "{DOCUMENT}: the list lacks the `unsafe` of {file}; add the row `{file}`, {count}, why"
                )),
                Some(said) if said != count => findings.errors.push(format!(
                    "{DOCUMENT}: {file} has {count} `unsafe` blocks, not {said}"
                )),
                Some(_) => {}
            }
        }
        for file in listed.keys().filter(|file| !self.0.contains_key(*file)) {
            findings
                .errors
                .push(format!("{DOCUMENT}: {file} has no `unsafe` any more"));
        }
    }
}

/// Returns whether the comment that `above` ends with gives a reason. Attributes may follow it.
fn is_explained(above: &[&str]) -> bool {
    let around = above.iter().rev().map(|line| line.trim());
    around
        .take_while(|line| line.starts_with("//") || line.starts_with("#["))
        .any(|line| line.starts_with("// SAFETY: "))
}

/// Reads a row of the list: the file and the number.
fn row(line: &str) -> Option<(String, usize)> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let file = cells.next()?.strip_suffix('`')?;
    let count = cells.next()?.parse().ok()?;
    let is_rust = Path::new(file).extension().is_some_and(|of| of == "rs");
    let is_file = is_rust && cells.next().is_some();
    is_file.then(|| (file.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str, document: &str) -> Vec<String> {
        let mut findings = Findings::default();
        let mut blocks = Blocks::default();
        blocks.count("a.rs", text, &mut findings);
        blocks.compare(document, &mut findings);
        findings.errors
    }

    #[test]
    fn each_block_is_explained_and_listed() {
        let check = |text: &str, document: &str, parts: &[&str]| {
            let told = errors(text, document);
            assert_eq!(told.len(), parts.len(), "{text}: {told:?}");
            for (told, part) in told.iter().zip(parts) {
                assert!(told.contains(part), "{told}");
            }
        };
        let block =
            "fn f() {\n    // SAFETY: because.\n    // It is.\n    let a = unsafe { g() };\n}";
        let once = "| `a.rs` | 1 | because |";
        check(block, once, &[]);
        check(block, "", &["lacks"]);
        check(
            block,
            "| `a.rs` | 2 | because |",
            &["1 `unsafe` blocks, not 2"],
        );
        check("fn f() {}", once, &["any more"]);
        check(
            "fn f() {\n    unsafe { g() };\n}",
            once,
            &["a.rs:2: no `// SAFETY:`"],
        );
        check(
            "// SAFETY: so.\nfn f() {\n    unsafe { g() };\n}",
            once,
            &["no `// SAFETY:`"],
        );
        check(
            "// SAFETY: so.\n#[allow(a)]\nunsafe impl A for B {}",
            once,
            &[],
        );
        check(
            "// unsafe {\nfn f() { let unsafe_code = \"unsafe {\"; }",
            "",
            &[],
        );
    }
}
