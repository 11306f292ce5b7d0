//! Turns a core module into a component.
//!
//! `wit-bindgen` (of any language) leaves a description of the world in the module. A module that
//! was written against the canonical ABI by hand has none: the names of its exports say which world
//! it is of, and the world's description is added here.

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::BuildError;
use crate::world::World;

/// The custom section that describes a module's world; `wit-bindgen` adds a suffix.
const DESCRIPTION: &str = "component-type";

/// Turns a core module into a component.
///
/// # Errors
/// The module is of no world, imports what its world does not have, or exports functions of another
/// type.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let described = described(module)?;
    let module = described.as_deref().unwrap_or(module);
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| not_a_plugin(format!("{error:#}")))
}

/// Returns the module with the description of its world, if it lacks one.
fn described(module: &[u8]) -> Result<Option<Vec<u8>>, BuildError> {
    let malformed = |error: wasmparser::BinaryReaderError| not_a_plugin(error.to_string());
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(malformed)? {
            Payload::CustomSection(section) if section.name().starts_with(DESCRIPTION) => {
                return Ok(None);
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name);
                }
            }
            _ => {}
        }
    }
    let is_of = |world: &World| exports.iter().any(|name| name.starts_with(world.export()));
    let mut worlds = World::ALL.into_iter().filter(is_of);
    let (Some(world), None) = (worlds.next(), worlds.next()) else {
        let exports = exports.into_iter().map(str::to_owned).collect();
        return Err(BuildError::NoWorld { exports });
    };
    let mut described = module.to_vec();
    push_custom_section(&mut described, DESCRIPTION, description(world));
    Ok(Some(described))
}

/// Returns the description of a world, as `wit-component` encodes it.
const fn description(world: World) -> &'static [u8] {
    match world {
        World::RecordFilter => include_bytes!("../../../../wit/encoded/record-filter.wasm"),
        World::KeyPartitioner => include_bytes!("../../../../wit/encoded/key-partitioner.wasm"),
        World::QuotaPolicy => include_bytes!("../../../../wit/encoded/quota-policy.wasm"),
    }
}

fn push_custom_section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut section = Vec::new();
    push_leb128(&mut section, name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    module.push(0);
    push_leb128(module, section.len());
    module.extend_from_slice(&section);
}

fn push_leb128(into: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn not_a_plugin(reason: String) -> BuildError {
    BuildError::NotAPlugin { reason }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use wit_component::{StringEncoding, metadata};
    use wit_parser::Resolve;

    use super::*;

    /// With `SEDGE_ENCODE_WIT=1`, the test writes the descriptions anew.
    #[test]
    fn the_encoded_worlds_are_those_of_the_interface() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(&wit).expect("wit/ is valid");
        for world in World::ALL {
            let name = world.to_string();
            let id = resolve.select_world(&[package], Some(&name));
            let id = id.expect("the world is in wit/");
            let encoded = metadata::encode(&resolve, id, StringEncoding::UTF8, None);
            let encoded = encoded.expect("the world can be encoded");
            if std::env::var_os("SEDGE_ENCODE_WIT").is_some() {
                let file = wit.join("encoded").join(format!("{name}.wasm"));
                fs::write(file, &encoded).expect("the repository is writable");
            } else {
                assert!(
                    encoded == description(world),
                    "wit/encoded/{name}.wasm is not what wit/plugin.wit says: run \
                     `SEDGE_ENCODE_WIT=1 cargo test -p sedge-plugin --features build encoded_worlds`"
                );
            }
        }
    }

    #[test]
    fn a_module_of_no_world_is_refused() {
        let module = |text: &str| wat::parse_str(text).expect("is valid");
        let refused = |text: &str| componentize(&module(text)).expect_err("refused");
        let none = refused(r#"(module (func (export "main")))"#);
        assert!(matches!(&none, BuildError::NoWorld { exports } if exports == &["main"]));
        let two = refused(
            r#"(module (func (export "sedge:plugin/filter@0.1.0#describe"))
                 (func (export "sedge:plugin/quota@0.1.0#decide")))"#,
        );
        assert!(matches!(two, BuildError::NoWorld { .. }), "{two}");
        let wrong = refused(r#"(module (func (export "sedge:plugin/filter@0.1.0#describe")))"#);
        assert!(wrong.to_string().contains("describe"), "{wrong}");
        let garbage = componentize(b"garbage").expect_err("refused");
        assert!(matches!(garbage, BuildError::NotAPlugin { .. }));
    }

    #[test]
    fn numbers_of_several_bytes_are_encoded() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
        ] {
            let mut encoded = Vec::new();
            push_leb128(&mut encoded, number);
            assert_eq!(encoded, bytes);
        }
    }
}
