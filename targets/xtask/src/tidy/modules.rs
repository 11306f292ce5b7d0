//! A crate's files, as their `mod` lines tie them together, and which of them imports which.
//!
//! An import ends at the file that defines what it names: names that a file passes on (`pub use`)
//! are followed. What a macro puts together is not seen, nor are tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    imports::{self, By, Named, Spoken},
    tokens,
};

/// How many names that pass a name on are followed: ends a circle of `pub use` lines.
const HOPS_MAX: usize = 8;

/// A file of a crate.
#[derive(Debug)]
pub struct Module {
    /// From the top of the repository.
    pub file: String,
    /// The module that it is: empty for `lib.rs`, `a::b` is `["a", "b"]`.
    pub path: Vec<String>,
    spoken: Spoken,
}

/// One file's line that names another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Indexes of modules.
    pub from: usize,
    pub to: usize,
    pub line: usize,
}

/// The files of a crate that the broker is built from.
#[derive(Debug)]
pub struct Tree {
    pub modules: Vec<Module>,
    /// `mod` lines without a file that this check finds.
    pub lost: Vec<String>,
    by_path: BTreeMap<Vec<String>, usize>,
}

impl Tree {
    /// Reads the crate whose `lib.rs` is in `folder` (from the top), with `read` for a file there.
    pub fn read(folder: &str, read: &dyn Fn(&str) -> io::Result<String>) -> io::Result<Self> {
        let mut tree = Self {
            modules: Vec::new(),
            lost: Vec::new(),
            by_path: BTreeMap::new(),
        };
        let root = format!("{folder}/lib.rs");
        let text = read(&root)?;
        tree.take(root, &text, Vec::new());
        let mut next = 0;
        while next < tree.modules.len() {
            let module = &tree.modules[next];
            let declared = module.spoken.declared.clone();
            let inside = folder_of(&module.file).to_owned();
            let (file, around) = (module.file.clone(), module.path.clone());
            for names in declared {
                let below = format!("{inside}/{}", names.join("/"));
                let candidates = [format!("{below}.rs"), format!("{below}/mod.rs")];
                let found = candidates
                    .iter()
                    .find_map(|candidate| Some((candidate, read(candidate).ok()?)));
                match found {
                    Some((found, text)) => {
                        let path = [around.clone(), names].concat();
                        tree.take(found.clone(), &text, path);
                    }
                    None => tree
                        .lost
                        .push(format!("{file}: no file of `mod {}`", names.join("::"))),
                }
            }
            next += 1;
        }
        Ok(tree)
    }

    /// `read` of files below `root`.
    pub fn from_disk(root: &Path) -> impl Fn(&str) -> io::Result<String> {
        let root = PathBuf::from(root);
        move |file| fs::read_to_string(root.join(file))
    }

    fn take(&mut self, file: String, text: &str, path: Vec<String>) {
        let (tokens, _) = tokens::without_tests(&tokens::split(text));
        self.by_path.insert(path.clone(), self.modules.len());
        self.modules.push(Module {
            file,
            path,
            spoken: imports::read(&tokens),
        });
    }

    /// All imports, in the order of files and lines.
    pub fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for (from, module) in self.modules.iter().enumerate() {
            for named in &module.spoken.paths {
                let mut files = BTreeSet::new();
                self.follow(from, named, HOPS_MAX, &mut files);
                files.remove(&from);
                found.extend(files.into_iter().map(|to| Import {
                    from,
                    to,
                    line: named.line,
                }));
            }
        }
        found
    }

    /// Puts into `files` the file that defines what `named` names, and those that pass it on from
    /// elsewhere. A name of another crate or of the standard library has none.
    fn follow(&self, from: usize, named: &Named, hops: usize, files: &mut BTreeSet<usize>) {
        let Some(path) = self.absolute(from, named) else {
            return;
        };
        let (at, rest) = self.nearest(&path);
        let passed_on = rest
            .first()
            .filter(|name| !self.modules[at].spoken.defined.contains(*name))
            .filter(|_| hops > 0)
            .and_then(|name| self.passed_on(at, name, named));
        let Some(mut next) = passed_on else {
            files.insert(at);
            return;
        };
        next.segments.extend_from_slice(&rest[1..]);
        let mut beyond = BTreeSet::new();
        self.follow(at, &next, hops - 1, &mut beyond);
        // A parent that passes on its own child's name is but the door to it.
        let is_door = beyond
            .iter()
            .all(|to| self.modules[*to].path.starts_with(&self.modules[at].path));
        if beyond.is_empty() || !is_door {
            files.insert(at);
        }
        files.append(&mut beyond);
    }

    /// The path from the crate's root that `named` means in the file `from`.
    fn absolute(&self, from: usize, named: &Named) -> Option<Vec<String>> {
        let module = &self.modules[from];
        let here = [module.path.clone(), named.inside.clone()].concat();
        let first = named.segments.first()?;
        let rest = &named.segments[1..];
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" | "super" => {
                let mut path = here;
                for segment in &named.segments {
                    match segment.as_str() {
                        "self" => {}
                        "super" => _ = path.pop(),
                        name => path.push(name.to_owned()),
                    }
                }
                Some(path)
            }
            name => {
                let child = [here, vec![name.to_owned()]].concat();
                if self.by_path.contains_key(&child) {
                    return Some([child, rest.to_vec()].concat());
                }
                // A module that this file brought in under that name.
                let brought_in = module.spoken.paths.iter().find(|other| {
                    *other != named && matches!(&other.by, By::Use(brought) if brought == name)
                })?;
                let of_use = &brought_in.segments[0];
                if !matches!(of_use.as_str(), "crate" | "self" | "super") {
                    return None;
                }
                let path = self.absolute(from, brought_in)?;
                let (at, beyond) = self.nearest(&path);
                let is_module = beyond.is_empty() && self.modules[at].path == path;
                is_module.then(|| [path, rest.to_vec()].concat())
            }
        }
    }

    /// The file in which the module that `path` begins with lies, and what of `path` is behind it.
    fn nearest<'a>(&self, path: &'a [String]) -> (usize, &'a [String]) {
        (0..=path.len())
            .rev()
            .find_map(|length| Some((*self.by_path.get(&path[..length])?, &path[length..])))
            .expect("lib.rs is the empty path")
    }

    /// The `use` line of file `at` that brings in `name`, if that file has one beside `asked`.
    fn passed_on(&self, at: usize, name: &str, asked: &Named) -> Option<Named> {
        let uses = &self.modules[at].spoken.paths;
        let by_name = uses
            .iter()
            .find(|other| *other != asked && matches!(&other.by, By::Use(own) if own == name));
        if let Some(found) = by_name {
            return Some(found.clone());
        }
        let defines = |glob: &&Named| {
            let path = self.absolute(at, glob);
            path.is_some_and(|path| {
                let (file, rest) = self.nearest(&path);
                file != at && rest.is_empty() && self.modules[file].spoken.defined.contains(name)
            })
        };
        let globs = uses.iter().filter(|other| other.by == By::Glob);
        let mut found = globs.clone().find(defines)?.clone();
        found.segments.push(name.to_owned());
        found.by = By::Use(name.to_owned());
        Some(found)
    }
}

/// The folder of a file's children: beside `lib.rs` and `mod.rs`, in `NAME/` beside `NAME.rs`.
fn folder_of(file: &str) -> &str {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    ["/lib", "/main", "/mod"]
        .iter()
        .find_map(|end| stem.strip_suffix(end))
        .unwrap_or(stem)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A crate in folder `x` from its files' names and texts.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        let files: BTreeMap<String, &str> = files
            .iter()
            .map(|(file, text)| (format!("x/{file}"), *text))
            .collect();
        let read = |file: &str| {
            let text = files.get(file).ok_or(io::ErrorKind::NotFound)?;
            Ok((*text).to_owned())
        };
        Tree::read("x", &read).unwrap()
    }

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let tree = tree(files);
        let name = |index: usize| tree.modules[index].file.strip_prefix("x/").unwrap();
        let found: Vec<String> = tree
            .imports()
            .iter()
            .map(|import| format!("{}:{} {}", name(import.from), import.line, name(import.to)))
            .collect();
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn crate_super_and_self_lead_to_files() {
        let a = "mod b;\nuse self::b::B;\nuse super::c::C;";
        let b =
            "use crate::c::{C, d::D};\nuse super::super::c;\nmod inner { use super::super::A; }";
        let files = [
            ("lib.rs", "mod a; mod c;"),
            ("a/mod.rs", a),
            ("a/b.rs", b),
            ("c.rs", "pub mod d;"),
            ("c/d.rs", "use std::io; use bytes::c::X;"),
        ];
        let expected = [
            "a/mod.rs:2 a/b.rs",
            "a/mod.rs:3 c.rs",
            "a/b.rs:1 c.rs",
            "a/b.rs:1 c/d.rs",
            "a/b.rs:2 c.rs",
            "a/b.rs:3 a/mod.rs",
        ];
        check(&files, &expected);
    }

    #[test]
    fn names_that_are_passed_on_lead_to_who_defines_them() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            (
                "a/mod.rs",
                "mod d; mod e; pub use d::D; pub use e::*; pub use crate::c::C as F;",
            ),
            ("a/d.rs", "pub struct D;"),
            ("a/e.rs", "pub fn e() {}"),
            (
                "b.rs",
                "use crate::a::D;\nuse crate::a::{e, G};\nuse crate::a::F;",
            ),
            ("c.rs", "pub struct C;"),
        ];
        let of_b: Vec<String> = {
            let tree = tree(&files);
            let b = |import: &&Import| tree.modules[import.from].file == "x/b.rs";
            let name =
                |import: &Import| format!("{} {}", import.line, &tree.modules[import.to].file[2..]);
            tree.imports().iter().filter(b).map(name).collect()
        };
        let expected = ["1 a/d.rs", "2 a/e.rs", "2 a/mod.rs", "3 a/mod.rs", "3 c.rs"];
        assert_eq!(of_b, expected);
    }

    #[test]
    fn paths_in_code_lead_to_files() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "pub mod c;"),
            ("a/c.rs", ""),
            (
                "b.rs",
                "use crate::a;\nfn f() { a::c::g(); crate::a::c::h() }",
            ),
        ];
        check(
            &files,
            &["b.rs:1 a/mod.rs", "b.rs:2 a/c.rs", "b.rs:2 a/c.rs"],
        );
    }

    #[test]
    fn tests_are_not_counted() {
        let files = [
            ("lib.rs", "mod a; #[cfg(test)] mod t;"),
            (
                "a.rs",
                "#[cfg(test)] use crate::t::T; #[cfg(test)] mod tests { use crate::t::T; }",
            ),
            ("t.rs", "use crate::a::A;"),
        ];
        check(&files, &[]);
    }

    #[test]
    fn circles_of_pub_use_end() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use crate::b::X;"),
            ("b.rs", "pub use crate::a::X;"),
        ];
        let tree = tree(&files);
        assert!(
            tree.imports()
                .iter()
                .any(|import| import.from == 1 && import.to == 2)
        );
    }

    #[test]
    fn a_file_that_is_not_found_is_told() {
        let tree = tree(&[("lib.rs", "mod gone;")]);
        assert_eq!(tree.lost, ["x/lib.rs: no file of `mod gone`"]);
    }
}
