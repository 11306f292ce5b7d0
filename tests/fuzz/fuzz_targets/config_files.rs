//! Fuzzes a configuration file, and the typed configuration made from it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sedge::config::{Settings, file};
use sedge_fuzz::bounded;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    bounded(text.as_bytes(), 4, |_| {
        let mut settings = Settings::default();
        let mut problems = Vec::new();
        file::parse(Path::new("fuzz.toml"), text, &mut settings, &mut problems);
        for problem in &problems {
            assert!(!problem.to_string().is_empty());
        }
        // Every accepted value is text that can be shown.
        for (key, setting) in settings.iter() {
            assert!(!key.is_empty());
            let _ = format!("{setting:?}");
        }
    });
});
