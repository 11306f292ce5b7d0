//! Inspects a component before it is used: is it one, and of which world?

use std::fmt;

use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::{
    error::Error,
    world::{STATE, World},
};

/// The interface that a plugin of every world exports.
const LIFECYCLE: &str = "sedge:plugin/lifecycle@0.1";

/// Returns the world of a component with these imports and exports.
///
/// # Errors
/// [`Error::ForbiddenImport`], [`Error::MissingExport`], [`Error::NoWorld`],
/// [`Error::SeveralWorlds`], [`Error::ImportOfOtherWorld`].
pub fn world_of<'a>(
    imports: impl IntoIterator<Item = &'a str>,
    exports: impl IntoIterator<Item = &'a str>,
) -> Result<World, Error> {
    let of_any = World::imports_of_any();
    let imports: Vec<&str> = imports.into_iter().collect();
    let is_one_of = |import: &str, allowed: &[&str]| {
        let mut allowed = allowed.iter();
        allowed.any(|allowed| is_version_of(import, allowed))
    };
    if let Some(import) = imports.iter().find(|import| !is_one_of(import, of_any)) {
        return Err(Error::ForbiddenImport {
            import: (*import).to_owned(),
        });
    }
    let exports: Vec<&str> = exports.into_iter().collect();
    let has = |wanted| exports.iter().any(|name| is_version_of(name, wanted));
    if !has(LIFECYCLE) {
        return Err(Error::MissingExport { export: LIFECYCLE });
    }
    let mut worlds = World::ALL.into_iter().filter(|world| has(world.export()));
    let world = match (worlds.next(), worlds.next()) {
        (None, _) => return Err(Error::NoWorld),
        (Some(world), None) => world,
        (Some(one), Some(two)) => return Err(Error::SeveralWorlds { worlds: [one, two] }),
    };
    let other = imports
        .iter()
        .find(|import| !is_one_of(import, world.imports()));
    other.map_or(Ok(world), |import| {
        Err(Error::ImportOfOtherWorld {
            import: (*import).to_owned(),
            world,
        })
    })
}

/// Returns whether `state` is among these imports.
pub fn has_state<'a>(mut imports: impl Iterator<Item = &'a str>) -> bool {
    imports.any(|name| is_version_of(name, STATE))
}

/// A component's SHA-256, which names it in artifacts and in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentHash(pub [u8; 32]);

impl ComponentHash {
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        Self(Sha256::digest(component).into())
    }
}

impl fmt::Display for ComponentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ComponentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The names that a component imports and exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline<'a> {
    pub imports: Vec<&'a str>,
    pub exports: Vec<&'a str>,
}

impl<'a> Outline<'a> {
    /// Reads the outermost sections of a component; compiling finds what is invalid inside.
    ///
    /// # Errors
    /// [`Error::NotAComponent`], [`Error::CoreModule`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut outline = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let malformed = |_| Error::NotAComponent;
            match payload.map_err(malformed)? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(Error::CoreModule);
                }
                // The outermost one has a version and an end too.
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports {
                        outline.imports.push(import.map_err(malformed)?.name.name);
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    for export in exports {
                        outline.exports.push(export.map_err(malformed)?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    /// Returns the world of the component.
    ///
    /// # Errors
    /// [`Error::ForbiddenImport`], [`Error::MissingExport`], [`Error::NoWorld`],
    /// [`Error::SeveralWorlds`], [`Error::ImportOfOtherWorld`].
    pub fn world(&self) -> Result<World, Error> {
        world_of(self.imports.iter().copied(), self.exports.iter().copied())
    }
}

/// Checks that bytes are a component of a known world without forbidden imports.
///
/// # Errors
/// [`Error::ComponentTooLarge`], and the errors of [`Outline`].
pub fn inspect(bytes: &[u8], component_bytes_max: usize) -> Result<(World, ComponentHash), Error> {
    if bytes.len() > component_bytes_max {
        return Err(Error::ComponentTooLarge {
            bytes: bytes.len(),
            max: component_bytes_max,
        });
    }
    let world = Outline::read(bytes)?.world()?;
    Ok((world, ComponentHash::of(bytes)))
}

/// Returns whether `name` is `interface` (with `major.minor`) in some patch version.
fn is_version_of(name: &str, interface: &str) -> bool {
    name.strip_prefix(interface)
        .is_some_and(|rest| rest.starts_with('.'))
}
