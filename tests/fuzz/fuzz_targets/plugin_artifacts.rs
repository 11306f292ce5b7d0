//! What is deployed as a plugin: machine code in its wrapping, and components.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_plugin::{Artifact, ComponentHash, inspect};

/// Bytes of a component; larger ones are refused unread.
const COMPONENT_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    bounded(input, 4, |input| {
        if let Ok(artifact) = Artifact::read(input) {
            assert!(Artifact::is_one(input));
            assert_eq!(
                ComponentHash::of(artifact.component),
                artifact.component_hash
            );
        }
        let _ = inspect(input, COMPONENT_BYTES_MAX);
    });
    // The wrapping put around what the input is cannot break either.
    let hash = ComponentHash::of(input);
    let wrapped = Artifact::write("x86_64", hash, input, input, None);
    let read = Artifact::read(&wrapped).expect("wrapped by us");
    assert_eq!((read.component, read.code), (input, input));
});
