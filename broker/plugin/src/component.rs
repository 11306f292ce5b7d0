//! Looks at a component before anything is done with it: is it one, and of our world?

use std::fmt;

use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::error::Error;

/// What a plugin may import.
const IMPORTS: [&str; 1] = ["sedge:plugin/log@0.1"];
/// What a filter has to export.
const FILTER_EXPORTS: [&str; 2] = ["sedge:plugin/lifecycle@0.1", "sedge:plugin/filter@0.1"];

/// A component's SHA-256: its name in artifacts and in the cache.
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

/// Refuses what is no record-filter: something else, another world, or one that imports more than
/// it may. Reads the outermost sections only; whether it is valid inside is found when it is
/// compiled.
///
/// # Errors
/// [`Error::NotAComponent`], [`Error::CoreModule`], [`Error::ComponentTooLarge`],
/// [`Error::ForbiddenImport`], [`Error::MissingExport`].
pub fn inspect_filter(bytes: &[u8], component_bytes_max: usize) -> Result<ComponentHash, Error> {
    if bytes.len() > component_bytes_max {
        return Err(Error::ComponentTooLarge {
            bytes: bytes.len(),
            max: component_bytes_max,
        });
    }
    let mut exported = [false; FILTER_EXPORTS.len()];
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
                    let name = import.map_err(malformed)?.name.name;
                    if !IMPORTS.iter().any(|allowed| is_version_of(name, allowed)) {
                        return Err(Error::ForbiddenImport {
                            import: name.to_owned(),
                        });
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let name = export.map_err(malformed)?.name.name;
                    for (exported, wanted) in exported.iter_mut().zip(FILTER_EXPORTS) {
                        *exported |= is_version_of(name, wanted);
                    }
                }
            }
            _ => {}
        }
    }
    match exported.iter().position(|exported| !exported) {
        Some(missing) => Err(Error::MissingExport {
            export: FILTER_EXPORTS[missing],
        }),
        None => Ok(ComponentHash::of(bytes)),
    }
}

/// Whether `name` is `interface` (with `major.minor`) in some patch version.
fn is_version_of(name: &str, interface: &str) -> bool {
    name.strip_prefix(interface)
        .is_some_and(|rest| rest.starts_with('.'))
}
