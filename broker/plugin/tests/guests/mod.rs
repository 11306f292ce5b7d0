//! The guests under `plugins/`, built once per run in the same way as by `sedge plugin build`.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use sedge_plugin::{
    BatchInfo, Engine, FilterFactory, FilterInstance, FilterStage, Limits, RecordBlob, guest,
};

/// Builds `plugins/FOLDER` and returns the component.
fn built(folder: &str) -> Vec<u8> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    // One directory for all test binaries, so that the standard library is built once.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let toolchain = guest::find_toolchain().expect("a compiler for WebAssembly");
    guest::build(&toolchain, &plugins.join(folder), Some(&target)).expect("builds")
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn drop_out_of_range() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| built("drop-out-of-range"))
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn misbehave() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| built("test-guests/misbehave"))
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn misplace() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| built("test-guests/misplace"))
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn geohash_partitioner() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| built("geohash-partitioner"))
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn judge() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| built("test-guests/judge"))
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn tenant_quota() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| built("tenant-quota"))
}

pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().expect("this machine runs plugins"))
}

pub fn settings(config: &[(&str, &str)]) -> Vec<(String, String)> {
    config
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub fn instance(filter: &FilterFactory, config: &[(&str, &str)]) -> FilterInstance {
    filter.instantiate(&settings(config)).expect("starts")
}

#[allow(dead_code, reason = "each test binary has its guests")]
pub const INFO: BatchInfo<'static> = BatchInfo {
    topic: "readings",
    partition: 3,
    stage: FilterStage::Produce,
    base_timestamp_ms: 1_700_000_000_000,
    origin: None,
};

/// Returns records with these values, without keys and headers.
#[allow(dead_code, reason = "each test binary has its guests")]
pub fn values(instance: &FilterInstance, values: &[&[u8]]) -> RecordBlob {
    let mut records = RecordBlob::new();
    records.start(instance.needs(), &Limits::default());
    for value in values {
        records.push(None, Some(value), None, 0).expect("fits");
    }
    records
}
