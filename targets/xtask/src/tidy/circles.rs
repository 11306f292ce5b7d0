//! Checks that no folder imports another one in a circle, and no file does, except parent and
//! child.
//!
//! The files and folders in one folder are *neighbours*. An import from anything in one neighbour
//! to anything in another ties the two, and neighbours may not be tied in a circle. A parent
//! (`mod.rs`, or `NAME.rs` beside `NAME/`) and the contents of its folder are not neighbours:
//! either may import the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::modules::{Import, Tree};

/// An import between neighbours that is allowed in a circle.
#[derive(Debug)]
pub struct Exception {
    /// The crate's folder in `broker/`.
    pub of: &'static str,
    /// Modules, as `a::b`.
    pub from: &'static str,
    pub to: &'static str,
    /// Reason why the circle is right.
    pub reason: &'static str,
}

/// The ties of each neighbour, with the imports behind them.
type Ties<'a> = BTreeMap<&'a [String], BTreeMap<&'a [String], Vec<&'a Import>>>;

/// Returns the circles of a crate's modules as paths, one for each knot, and the exceptions that
/// excuse nothing.
pub fn find(name: &str, tree: &Tree, exceptions: &[Exception]) -> (Vec<String>, Vec<String>) {
    let imports = tree.imports();
    let mut folders: BTreeMap<&[String], Ties> = BTreeMap::new();
    for import in &imports {
        let from = &tree.modules[import.from].path;
        let to = &tree.modules[import.to].path;
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        // One of the two is the other's parent.
        if common == from.len() || common == to.len() {
            continue;
        }
        let ties = folders.entry(&from[..common]).or_default();
        let ends = ties.entry(&from[..=common]).or_default();
        ends.entry(&to[..=common]).or_default().push(import);
    }
    let mut circles = Vec::new();
    let mut idle: Vec<&Exception> = exceptions.iter().filter(|one| one.of == name).collect();
    for (folder, mut ties) in folders {
        let knots = knots(&ties);
        idle.retain(|exception| {
            let in_use = knots.iter().any(|knot| {
                let has = |module: &str| knot.iter().any(|one| one.join("::") == module);
                has(exception.from) && has(exception.to)
            });
            let removed = in_use && remove(&mut ties, exception);
            !removed
        });
        for knot in self::knots(&ties) {
            circles.push(tell(name, folder, tree, &ties, &knot));
        }
    }
    let told = |exception: &Exception| {
        format!(
            "broker/{name}/src: the exception {} -> {} ({}) excuses no circle: remove it",
            exception.from, exception.to, exception.reason
        )
    };
    (circles, idle.into_iter().map(told).collect())
}

/// Removes the tie of `exception`. Returns whether there was one.
fn remove(ties: &mut Ties, exception: &Exception) -> bool {
    let mut removed = false;
    for (from, ends) in ties {
        if from.join("::") == exception.from {
            let before = ends.len();
            ends.retain(|to, _| to.join("::") != exception.to);
            removed |= ends.len() < before;
        }
    }
    removed
}

/// Returns sets of more than one neighbour, in each of which every neighbour reaches every other.
fn knots<'a>(ties: &Ties<'a>) -> Vec<BTreeSet<&'a [String]>> {
    let mut knots: Vec<BTreeSet<&[String]>> = Vec::new();
    for one in ties.keys().copied() {
        if knots.iter().any(|knot| knot.contains(one)) {
            continue;
        }
        let reached = reached_from(ties, one);
        let knot: BTreeSet<&[String]> = reached
            .into_iter()
            .filter(|other| reached_from(ties, other).contains(one))
            .collect();
        if knot.len() > 1 {
            knots.push(knot);
        }
    }
    knots
}

/// Returns what `from` imports, directly or over others.
fn reached_from<'a>(ties: &Ties<'a>, from: &[String]) -> BTreeSet<&'a [String]> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(one) = open.pop() {
        for to in ties.get(one).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

/// Describes the shortest circle of `knot`: the path, and an import behind each step.
fn tell(
    name: &str,
    folder: &[String],
    tree: &Tree,
    ties: &Ties,
    knot: &BTreeSet<&[String]>,
) -> String {
    let circle = knot
        .iter()
        .map(|one| shortest(ties, one))
        .min_by_key(Vec::len)
        .expect("a knot is not empty");
    let last = |path: &[String]| path.last().cloned().unwrap_or_default();
    let path: Vec<String> = circle.iter().map(|one| last(one)).collect();
    let place = [&[format!("broker/{name}/src")], folder].concat().join("/");
    let mut told = format!("{place}: a circle: {}", path.join(" -> "));
    if knot.len() >= circle.len() {
        let names: Vec<String> = knot.iter().map(|one| last(one)).collect();
        let names = names.join(", ");
        told = format!("{told}, one of a knot of {}: {names}", knot.len());
    }
    let step = |ends: &[&[String]]| {
        let imports = &ties[ends[0]][ends[1]];
        let line = imports[0].line;
        let [from, to] = [imports[0].from, imports[0].to].map(|at| &tree.modules[at].file);
        let more = match imports.len() {
            1 => String::new(),
            all => format!(" (and {} more such imports)", all - 1),
        };
        format!("{from}:{line} imports {to}{more}")
    };
    let steps = circle.windows(2).map(step);
    let lines: Vec<String> = std::iter::once(told).chain(steps).collect();
    lines.join("\n    ")
}

/// Returns the shortest path from `one` back to itself, with `one` at both ends.
fn shortest<'a>(ties: &Ties<'a>, one: &'a [String]) -> Vec<&'a [String]> {
    let mut came_from: BTreeMap<&[String], &[String]> = BTreeMap::new();
    let mut open = VecDeque::from([one]);
    while let Some(next) = open.pop_front() {
        for to in ties.get(next).into_iter().flat_map(BTreeMap::keys).copied() {
            if came_from.contains_key(to) {
                continue;
            }
            came_from.insert(to, next);
            open.push_back(to);
        }
    }
    let mut path = vec![one];
    let mut at = came_from[one];
    while at != one {
        path.push(at);
        at = came_from[at];
    }
    path.push(one);
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::{super::modules::tests::tree, *};

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        find("x", &tree(files), &[]).0
    }

    #[test]
    fn a_circle_of_files_is_told_as_a_path() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "\npub use super::{c::{self}};"),
            ("c.rs", "use crate::{d::D, a::A};"),
            ("d.rs", ""),
        ]);
        let expected = "broker/x/src: a circle: a -> b -> c -> a\
                        \n    x/a.rs:1 imports x/b.rs\
                        \n    x/b.rs:2 imports x/c.rs\
                        \n    x/c.rs:1 imports x/a.rs";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_circle_of_folders_without_one_of_files_is_found() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod one; mod two;"),
            ("a/one.rs", "use crate::b::one::X;"),
            ("a/two.rs", ""),
            ("b/mod.rs", "pub mod one; mod two;"),
            ("b/one.rs", ""),
            ("b/two.rs", "fn f() { crate::a::two::g() }"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("broker/x/src: a circle: a -> b -> a\n"));
    }

    #[test]
    fn a_circle_inside_a_folder_is_found() {
        let found = circles(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod b; mod c; pub use b::B;"),
            ("a/b.rs", "pub struct B; use super::c::C;"),
            ("a/c.rs", "pub struct C; use super::B;"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("broker/x/src/a: a circle: b -> c -> b\n"));
    }

    #[test]
    fn parents_and_children_import_each_other() {
        let found = circles(&[
            ("lib.rs", "mod a; pub use a::b::B; pub struct L;"),
            (
                "a/mod.rs",
                "pub mod b; mod c; use b::B; pub struct A; use crate::L;",
            ),
            ("a/b.rs", "use super::A; use crate::L; use super::c::C;"),
            ("a/c.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn of_a_knot_the_shortest_circle_is_told() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::a::A; use crate::b::{B, D};"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .starts_with("broker/x/src: a circle: b -> c -> b, one of a knot of 3: a, b, c\n")
        );
        assert!(found[0].ends_with("(and 1 more such imports)"));
    }

    #[test]
    fn an_exception_excuses_a_circle_and_is_told_when_it_does_not() {
        let exception = |from, to| Exception {
            of: "x",
            from,
            to,
            reason: "a test",
        };
        let tree = tree(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A; use crate::c::C;"),
            ("c.rs", ""),
        ]);
        let check = |from, to, circles, idle| {
            let (found, unused) = find("x", &tree, &[exception(from, to)]);
            assert_eq!(
                (found.len(), unused.len()),
                (circles, idle),
                "{from} -> {to}"
            );
        };
        check("b", "a", 0, 0);
        check("b", "c", 1, 1);
        check("a", "gone", 1, 1);
    }
}
