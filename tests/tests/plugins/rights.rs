//! Tests plugins that have to be signed.

use std::fs;
use std::path::Path;
use std::process::Command;

use sedge_tests::process::Process;
use sedge_tests::sedge::Options;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, error};
use sedge_tests::{limits, tools};

use crate::support::{Place, RANGE, command, component};

/// `openssl genpkey -algorithm ed25519`, and `openssl pkey -pubout` of it.
const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIN2DKNZxj+hUGgcsi9caOuHsBU4gZ77HkfcFhKSsVybg";
const PUBLIC_KEY: &str = "MCowBQYDK2VwAyEAxhGh0vsKYAOL+ZUnynypT+AjWKtE9CgWKZb+oyxXdCs=";
/// Another key.
const OTHER_KEY: &str = "MC4CAQAwBQYDK2VwBCIEID8kGXgym7ajb4Mo2nkcT/UlvnYCVYvCKA5vBQLZD1W0";

/// Signs a file. Returns what the command printed.
fn sign(name: &str, file: &str, key: &str, directory: &Path) -> String {
    let pem = directory.join("key.pem");
    let text = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    fs::write(&pem, text).expect("writes");
    let mut sign = Command::new(tools::sedge());
    sign.args(["plugin", "sign", name, file, "--key"]).arg(&pem);
    let done = Process::run("sedge plugin sign", &mut sign, b"", limits::COMMAND);
    tools::must(done, "signing").stdout
}

#[test]
fn only_signed_plugins_are_deployed_and_run() {
    let directory = TempDir::new("plugins-signed");
    let file = directory.join("range.wasm");
    fs::copy(component(RANGE), &file).expect("copies");
    let file = file.to_str().expect("a plain path");
    // It is deployed before the keys are set.
    let mut place = Place::start("plugin-keys", Options::default());
    let deploy = |place: &Place, name: &str| command(place, &["plugin", "deploy", name, file]);
    assert!(deploy(&place, "range").0);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[("sedge.filter", "range")]);
    place.sedge.terminate();
    let trusted = Options::default().set("plugin.trusted.keys", PUBLIC_KEY);
    place.sedge.set_options(trusted);
    place.sedge.start_again();
    at = place.connect();
    let hot = Batch::of(&[br#"{"celsius":999}"#.to_vec()]).encode();
    let ready = |at: &mut wire::Connection| wire::produce(at, "t", 0, &hot).error == error::NONE;
    assert!(!ready(&mut at), "an unsigned plugin runs");
    place.wait("the log says it", |place| {
        let said = place.sedge.process().tail();
        said.contains("the plugin range is deployed but cannot run: it is not signed")
    });
    // No signature, another name's, another key's.
    let refused = |place: &Place, name: &str, part: &str| {
        let (is_deployed, why) = deploy(place, name);
        assert!(!is_deployed && why.contains(part), "{why}");
    };
    refused(&place, "range", "it is not signed");
    sign("other", file, KEY, directory.path());
    refused(&place, "range", "no key of plugin.trusted.keys");
    sign("range", file, OTHER_KEY, directory.path());
    refused(&place, "range", "no key of plugin.trusted.keys");
    let said = sign("range", file, KEY, directory.path());
    assert!(said.contains(PUBLIC_KEY), "{said}");
    let (is_deployed, why) = deploy(&place, "range");
    assert!(is_deployed, "{why}");
    place.wait("the signed plugin runs", |_| ready(&mut at));
    // A kept version keeps its signature.
    let (is_deployed, why) = deploy(&place, "range");
    assert!(is_deployed, "{why}");
    place.wait("a version is kept", |place| {
        let (_, said) = command(place, &["plugin", "describe", "range"]);
        said.matches("kept").count() == 2
    });
    let (is_deployed, why) = command(&place, &["plugin", "rollback", "range"]);
    assert!(is_deployed, "{why}");
    place.wait("it runs", |_| ready(&mut at));
    place.sedge.kill();
    place.sedge.start_again();
    at = place.connect();
    place.wait("it runs after a kill", |_| ready(&mut at));
    // Deleting and pausing deploy no code.
    assert!(command(&place, &["plugin", "pause", "range"]).0);
    assert!(command(&place, &["plugin", "delete", "range"]).0);
}
