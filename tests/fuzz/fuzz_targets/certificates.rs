//! Fuzzes the parsers of certificate files (PEM, DER, and distinguished names) and
//! `ssl.principal.mapping.rules`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_core::principal_mapping::{MappingRules, Pattern};
use sedge_core::x509::{Certificate, der, pem};
use sedge_fuzz::bounded;

/// Matches everything, with the whole text as its only group.
struct Anything;

impl Pattern for Anything {
    fn compile(_: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn groups<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        Some(vec![Some(text), None])
    }
}

fuzz_target!(|input: &[u8]| {
    bounded(input, 8, |input| {
        let _ = Certificate::parse(input);
        let mut reader = der::Reader::new(input);
        let mut bytes = 0;
        while let Some(value) = reader.value() {
            bytes += value.whole.len();
            assert!(value.whole.ends_with(value.content));
        }
        assert!(bytes <= input.len());
        let Ok(text) = std::str::from_utf8(input) else {
            return;
        };
        for block in pem::blocks(text).unwrap_or_default() {
            let _ = Certificate::parse(&block.der);
        }
        if let Ok(rules) = MappingRules::<Anything>::parse(text) {
            let _ = rules.apply("CN=a");
        }
    });
});
