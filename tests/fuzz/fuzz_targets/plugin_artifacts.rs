//! Fuzzes deployed plugins: artifacts with machine code, and components.
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
    // Packing the input as an artifact's component must not break either.
    let hash = ComponentHash::of(input);
    let wrapped = Artifact::write("x86_64", hash, input, input, None);
    let read = Artifact::read(&wrapped).expect("wrapped by us");
    assert_eq!((read.component, read.code), (input, input));
});
