//! The members that are redacted: JSON Pointers with `*`, and names at any depth.

use sedge_plugin_sdk::{String, ToOwned, Vec, format, json::Text};

/// Paths in the setting, as many as a `u64` has bits.
const PATHS_MAX: usize = u64::BITS as usize;
/// Nesting up to which names at any depth are looked for. A call has a stack of that size for sure.
const DEPTH_MAX: usize = 64;

/// What is redacted.
#[derive(Debug)]
pub struct Paths {
    paths: Vec<Vec<Name>>,
    /// Names at any depth.
    names: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Name {
    Any,
    Is {
        name: String,
        /// The name as an element's index, if it is a number.
        index: Option<usize>,
    },
}

/// A member or an element.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Whether it is redacted.
    pub is_there: bool,
    /// The paths that lead on from it, a bit each.
    pub open: u64,
}

impl Paths {
    /// Parses the setting: paths and names between commas.
    pub fn parse(setting: &str) -> Result<Self, String> {
        let (mut paths, mut names) = (Vec::new(), Vec::new());
        for part in setting.split(',').map(str::trim) {
            match part.strip_prefix('/') {
                Some(path) => paths.push(path.split('/').map(name).collect::<Result<_, _>>()?),
                None if part.is_empty() || part == "*" || part.contains('/') => {
                    return Err(format!(
                        "{part:?} is neither a path, such as /user/email, nor a name"
                    ));
                }
                None => names.push(unescaped(part)?),
            }
        }
        if paths.len() > PATHS_MAX {
            return Err(format!("there are more than {PATHS_MAX} paths"));
        }
        Ok(Self { paths, names })
    }

    /// Returns all paths.
    pub fn all(&self) -> u64 {
        (0..self.paths.len()).fold(0, |all, index| all | 1 << index)
    }

    /// Returns whether a value below one that `open` leads to can be redacted.
    pub fn leads_on(&self, open: u64, depth: usize) -> bool {
        open != 0 || (!self.names.is_empty() && depth < DEPTH_MAX)
    }

    /// Takes a member's name.
    pub fn member(&self, open: u64, depth: usize, name: Text<'_>) -> Step {
        if self.names.iter().any(|wanted| name.is(wanted)) {
            return Step {
                is_there: true,
                open: 0,
            };
        }
        self.step(open, depth, |wanted, _| name.is(wanted))
    }

    /// Takes an element's index.
    pub fn element(&self, open: u64, depth: usize, index: usize) -> Step {
        self.step(open, depth, |_, wanted| wanted == Some(index))
    }

    fn step(&self, mut open: u64, depth: usize, is: impl Fn(&str, Option<usize>) -> bool) -> Step {
        let mut step = Step {
            is_there: false,
            open: 0,
        };
        while open != 0 {
            let index = open.trailing_zeros();
            open &= open - 1;
            let path = self
                .paths
                .get(index as usize)
                .map_or(&[][..], Vec::as_slice);
            let is_on = match path.get(depth) {
                Some(Name::Any) => true,
                Some(Name::Is { name, index }) => is(name, *index),
                None => false,
            };
            if is_on {
                step.is_there |= path.len() == depth + 1;
                step.open |= 1 << index;
            }
        }
        step
    }
}

fn name(text: &str) -> Result<Name, String> {
    if text == "*" {
        return Ok(Name::Any);
    }
    let (name, index) = (unescaped(text)?, text.parse().ok());
    Ok(Name::Is { name, index })
}

/// Resolves the escapes of a JSON Pointer (RFC 6901).
fn unescaped(text: &str) -> Result<String, String> {
    let mut rest = text.split('~');
    let mut name = rest.next().unwrap_or_default().to_owned();
    for part in rest {
        let (letter, after) = if let Some(after) = part.strip_prefix('0') {
            ('~', after)
        } else if let Some(after) = part.strip_prefix('1') {
            ('/', after)
        } else {
            return Err(format!("{text:?}: ~ is written ~0, and / is written ~1"));
        };
        name.push(letter);
        name.push_str(after);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_refused() {
        for setting in ["", "/a,", "*", "a/b", "/a~2b", "/a~"] {
            assert!(Paths::parse(setting).is_err(), "{setting}");
        }
        let many = (0..=PATHS_MAX).map(|n| format!("/{n}"));
        let many = many.collect::<Vec<_>>().join(",");
        assert!(Paths::parse(&many).is_err());
    }
}
