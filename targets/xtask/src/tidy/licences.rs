//! Checks where the code of other people is from, and under which licences: what `.cargo/deny.toml`
//! allows, which cargo-deny reads as well.

use std::fs;

use serde::Deserialize;

use super::Findings;
use crate::{
    error::{Error, Result},
    packages::{CRATES_IO, Packages},
    workspace::Workspace,
};

const RULES: &str = ".cargo/deny.toml";

#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

pub fn check(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    let path = workspace.root.join(RULES);
    let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let rules: Rules = toml::from_str(&text).map_err(|error| Error::Content {
        path,
        wrong: error.to_string(),
    })?;
    let packages = Packages::read(workspace)?;
    findings
        .errors
        .extend(wrong(&packages, &rules.licenses.allow));
    Ok(())
}

fn wrong(packages: &Packages, allowed: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages.all.iter().filter(|package| !package.is_ours()) {
        let name = format!("{} {}", package.name, package.version);
        if package.source.as_deref() != Some(CRATES_IO) {
            wrong.push(format!("{name} is not from crates.io"));
        }
        if !packages.checksums.contains_key(&package.id()) {
            wrong.push(format!("{name} has no checksum in Cargo.lock"));
        }
        let license = package.license.as_deref().unwrap_or("none");
        if !is_allowed(license, allowed) {
            wrong.push(format!(
                "{name}: {RULES} does not allow its licence, {license}"
            ));
        }
    }
    wrong
}

/// Returns whether an SPDX expression can be met with these licences. `AND` binds tighter than
/// `OR`; before SPDX, cargo separated alternatives by a slash.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed);
    words.next().is_none() && met == Some(true)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `None`: this is no expression.
fn any_of(words: &mut Words<'_>, allowed: &[String]) -> Option<bool> {
    let mut met = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed)?;
    }
    Some(met)
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> Option<bool> {
    match words.next()? {
        "(" => {
            let met = any_of(words, allowed)?;
            (words.next() == Some(")")).then_some(met)
        }
        name => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next()?);
            }
            Some(allowed.contains(&name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_met_or_not() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        let check = |expression: &str, expected: bool| {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        };
        check("MIT", true);
        check("MIT OR GPL-3.0", true);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0/MIT", true);
        check("GPL-3.0", false);
        check("MIT AND GPL-3.0", false);
        check("MIT AND ISC", true);
        check("GPL-3.0 AND MIT OR ISC", true);
        check("GPL-3.0 AND (MIT OR ISC)", false);
        check("(MIT OR GPL-3.0) AND ISC", true);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Apache-2.0", false);
        check("(MIT", false);
        check("MIT ISC", false);
        check("", false);
    }

    #[test]
    fn code_from_elsewhere_is_found() {
        let metadata = r#"{"packages": [
            {"name": "a", "version": "1.0.0", "id": "a", "license": "MIT",
             "source": "git+https://example.org/a"},
            {"name": "b", "version": "1.0.0", "id": "b", "license": "GPL-3.0",
             "source": "registry+https://github.com/rust-lang/crates.io-index"},
            {"name": "ours", "version": "1.0.0", "id": "c"}], "resolve": {"nodes": []}}"#;
        let lock = "[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"00\"";
        let packages = Packages::parse(metadata, lock).unwrap();
        let told = wrong(&packages, &["MIT".to_owned()]);
        let expected = [
            "a 1.0.0 is not from crates.io",
            "a 1.0.0 has no checksum in Cargo.lock",
            "b 1.0.0: .cargo/deny.toml does not allow its licence, GPL-3.0",
        ];
        assert_eq!(told, expected);
    }
}
