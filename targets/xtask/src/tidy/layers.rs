//! Checks that `broker/node/src` keeps to the map of node in ARCHITECTURE.md.
//!
//! The map is a block that begins with [`TITLE`]. Each of its lines names files and folders of
//! `broker/node/src`, followed by two blanks and a description. The modules of a line may import
//! each other, and the modules of lower lines.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::Tree;

/// The first words of the map.
const TITLE: &str = "broker/node/src, from the top down";

/// The line of each module in `src`: 0 is the top.
pub type Layers = BTreeMap<String, usize>;

/// Reads the map from `text`, the contents of ARCHITECTURE.md. Returns `None` if there is none.
pub fn read(text: &str) -> Option<Layers> {
    let map = text.lines().skip_while(|line| !line.starts_with(TITLE));
    let lines = map.skip(1).take_while(|line| !line.starts_with("```"));
    let mut layers = Layers::new();
    for (layer, line) in lines.enumerate() {
        let names = line.split("  ").next().unwrap_or_default();
        for name in names.split(',') {
            layers.insert(name.trim().to_owned(), layer);
        }
    }
    (!layers.is_empty()).then_some(layers)
}

/// Returns the finding for an ARCHITECTURE.md without a map.
pub fn lacking() -> String {
    format!("ARCHITECTURE.md has no block that begins with `{TITLE}`")
}

/// Returns the imports of `tree` that break `layers`.
pub fn check(tree: &Tree, layers: &Layers) -> Vec<String> {
    let mut wrong = Vec::new();
    let there: BTreeSet<&String> = tree
        .modules
        .iter()
        .filter_map(|module| module.path.first())
        .collect();
    for name in layers.keys().filter(|name| !there.contains(name)) {
        wrong.push(format!(
            "ARCHITECTURE.md names {name}, which does not exist"
        ));
    }
    let unnamed: Vec<&str> = there
        .into_iter()
        .filter(|name| !layers.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !unnamed.is_empty() {
        let names = unnamed.join(", ");
        wrong.push(format!("ARCHITECTURE.md has no line for {names}"));
    }
    for import in tree.imports() {
        let module = |index: usize| &tree.modules[index];
        let layer = |index: usize| layers.get(module(index).path.first()?);
        if let (Some(from), Some(to)) = (layer(import.from), layer(import.to))
            && to < from
        {
            wrong.push(format!(
                "{}:{} imports upwards: {}",
                module(import.from).file,
                import.line,
                module(import.to).file
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::{super::modules::tests::tree, *};

    #[test]
    fn imports_go_down_or_along_a_line() {
        let text = format!(
            "```\n{TITLE}; more words\na, b   the top: tells, shows\nc  below, far below\n```\nd  x"
        );
        let layers = read(&text).unwrap();
        let told = |files: &[(&str, &str)]| check(&tree(files), &layers);
        let files = |b, c| {
            [
                ("lib.rs", "mod a; mod b; mod c;"),
                ("a.rs", "use crate::{b::B, c::C};"),
                ("b.rs", b),
                ("c.rs", c),
            ]
        };
        assert_eq!(told(&files("", "")), [""; 0]);
        assert_eq!(
            told(&files("use super::a;", "\nuse crate::b::B;")),
            ["x/c.rs:2 imports upwards: x/b.rs"]
        );
        let other = [
            ("lib.rs", "mod a; mod b; mod e;"),
            ("a.rs", ""),
            ("b.rs", ""),
            ("e.rs", ""),
        ];
        assert_eq!(
            told(&other),
            [
                "ARCHITECTURE.md names c, which does not exist",
                "ARCHITECTURE.md has no line for e",
            ]
        );
        assert_eq!(read("no map"), None);
    }
}
