//! Packages in clean roots: installed, started, and used by a client; and made twice to the same
//! bytes.
//!
//! `cargo xtask test --only packages` makes them from brokers that were built before: the package
//! of Debian from this machine's, the others from the static one for ARM, which runs in an
//! emulator. The long form has those for x86-64 too. A root of Debian comes from its mirror, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use sedge_tests::process::Process;
use sedge_tests::soak::is_long;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{http, limits, ports, tools};
use serde_json::Value;

/// The user of the broker in containers.
const USER: u64 = 990;
/// Runs programs for ARM.
const EMULATOR: &str = "/usr/bin/qemu-aarch64-static";
/// Bytes of an image of containers, at most.
const OCI_BYTES_MAX: u64 = 20 << 20;

fn directory() -> PathBuf {
    let value = std::env::var_os("SEDGE_PACKAGES");
    let value = value.unwrap_or_else(|| panic!("run `cargo xtask test --only packages`"));
    PathBuf::from(value)
}

/// The one file of the packages with this ending.
fn package(directory: &Path, end: &str) -> PathBuf {
    let files = fs::read_dir(directory).expect("the packages").flatten();
    let mut found = files.map(|file| file.path());
    let ends = |path: &PathBuf| path.to_string_lossy().ends_with(end);
    found
        .find(ends)
        .unwrap_or_else(|| panic!("no {end} in {}", directory.display()))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let done = Process::run(program, &mut command, b"", limits::BUILD);
    tools::must(done, program).stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are UTF-8")
}

/// Starts a broker, produces to it and consumes, and stops it.
fn serves(mut command: Command) {
    let (kafka, console) = (ports::free(), ports::free());
    command.args(["--listen", &format!("127.0.0.1:{kafka}")]);
    command.args(["--console", &format!("127.0.0.1:{console}")]);
    let mut broker = Process::spawn("sedge", &mut command);
    broker.wait_for("its ready line", limits::SEDGE_READY, |output| {
        let mut lines = output.stdout.iter();
        lines
            .any(|line| line.starts_with("sedge ready:"))
            .then_some(())
    });
    assert_eq!(http::get(&format!("127.0.0.1:{console}"), "/readyz").0, 200);
    let kcat = |arguments: &[&str], input: &[u8]| {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &format!("127.0.0.1:{kafka}"), "-t", "readings"]);
        kcat.args(arguments);
        let done = Process::run("kcat", &mut kcat, input, limits::COMMAND);
        tools::must(done, "kcat").stdout
    };
    kcat(&["-P", "-X", "acks=all"], b"one\ntwo\n");
    assert_eq!(kcat(&["-C", "-e", "-q"], b""), "one\ntwo");
    broker.signal(Signal::TERM);
    let status = broker.wait_exit(limits::SHUTDOWN);
    assert!(status.success(), "{status}: {}", broker.tail());
}

/// Puts the emulator into a root if its program needs one, and returns the words before a program.
fn emulator(root: &Path, machine: &str) -> Vec<&'static str> {
    if machine != "arm64" {
        return Vec::new();
    }
    fs::copy(EMULATOR, root.join("emulator")).expect("qemu-user-static is installed");
    vec!["/emulator"]
}

/// A root of Debian without anything else, from its mirror; a copy for each test.
fn debian(scratch: &TempDir) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a root of Debian can be made by root alone");
        return None;
    }
    let made = directory().join("debian-root");
    if !made.join("usr/bin/dpkg").exists() {
        let mut command = Command::new("/usr/sbin/debootstrap");
        command.args(["--variant=minbase", "bookworm"]).arg(&made);
        let done = Process::run("debootstrap", &mut command, b"", limits::BUILD);
        if !done.status.success() {
            eprintln!("skipped: debootstrap has no mirror here: {}", done.stderr);
            fs::remove_dir_all(&made).expect("a scratch directory");
            return None;
        }
    }
    let root = scratch.join("root");
    run("cp", &["-a", text(&made), text(&root)]);
    Some(root)
}

#[test]
#[ignore = "needs packages: cargo xtask test --only packages"]
fn the_debian_package_is_installed_used_and_removed_in_a_clean_root() {
    let scratch = TempDir::on_disk("deb");
    let Some(root) = debian(&scratch) else {
        return;
    };
    let deb = package(&directory(), "_amd64.deb");
    fs::copy(&deb, root.join("sedge.deb")).expect("a scratch file");
    let inside = |arguments: &[&str]| run("chroot", &[&[text(&root)], arguments].concat());
    inside(&["dpkg", "--install", "/sedge.deb"]);
    let shown = inside(&[
        "stat",
        "-c",
        "%U:%G %a",
        "/etc/sedge/sedge.toml",
        "/var/lib/sedge",
    ]);
    assert_eq!(shown, "root:sedge 640\nsedge:sedge 700");
    assert_eq!(inside(&["dpkg", "--verify", "sedge"]), "");
    inside(&[
        "sedge",
        "config",
        "check",
        "--config",
        "/etc/sedge/sedge.toml",
    ]);
    let mut broker = Command::new("chroot");
    broker.args(["--userspec=sedge:sedge", text(&root), "sedge", "serve"]);
    broker.args([
        "--config",
        "/etc/sedge/sedge.toml",
        "--data",
        "/var/lib/sedge",
    ]);
    serves(broker);
    // What the owner has changed stays over a later package, and the data over the last one.
    let own = root.join("etc/sedge/sedge.toml");
    let mut changed = fs::read_to_string(&own).expect("the configuration");
    changed.push_str("\"num.network.threads\" = 1\n");
    fs::write(&own, &changed).expect("a scratch file");
    inside(&["dpkg", "--install", "/sedge.deb"]);
    assert_eq!(
        fs::read_to_string(&own).expect("the configuration"),
        changed
    );
    inside(&["dpkg", "--purge", "sedge"]);
    assert!(!root.join("usr/bin/sedge").exists() && !own.exists());
    assert!(
        root.join("var/lib/sedge/meta.toml").exists(),
        "the data stays"
    );
}

#[test]
#[ignore = "needs packages: cargo xtask test --only packages"]
fn the_tarball_runs_in_a_root_with_nothing_else() {
    let scratch = TempDir::on_disk("tarball");
    let tarball = package(&directory(), "-aarch64-unknown-linux-musl.tar.gz");
    run("tar", &["-xzf", text(&tarball), "-C", text(scratch.path())]);
    let name = tarball.file_name().expect("a file").to_string_lossy();
    let root = scratch.join(name.trim_end_matches(".tar.gz"));
    assert!(root.join("sedge.toml").exists() && root.join("systemd/sedge.service").exists());
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a program another root");
        return;
    }
    let mut broker = Command::new("chroot");
    broker.arg(&root).args(emulator(&root, "arm64"));
    broker.args([
        "/sedge",
        "serve",
        "--config",
        "/sedge.toml",
        "--data",
        "/data",
    ]);
    serves(broker);
}

/// Returns a file of a layout by its descriptor, whose digest and size have to be right.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    let digits = digest.strip_prefix("sha256:").expect("SHA-256");
    let path = layout.join("blobs/sha256").join(digits);
    let listed = run("sha256sum", &[text(&path)]);
    assert!(listed.starts_with(digits), "{listed}");
    let bytes = fs::metadata(&path).expect("a blob").len();
    assert_eq!(descriptor["size"].as_u64(), Some(bytes), "{digest}");
    path
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).expect("a file of the layout");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
#[ignore = "needs packages: cargo xtask test --only packages"]
fn the_image_of_containers_is_whole_small_and_runs_without_rights() {
    let scratch = TempDir::on_disk("oci");
    let archive = package(&directory(), ".oci.tar");
    assert!(fs::metadata(&archive).expect("the archive").len() <= OCI_BYTES_MAX);
    let layout = scratch.join("layout");
    fs::create_dir(&layout).expect("a scratch directory");
    run("tar", &["-xf", text(&archive), "-C", text(&layout)]);
    assert_eq!(
        json(&layout.join("oci-layout"))["imageLayoutVersion"],
        "1.0.0"
    );
    let index = json(&layout.join("index.json"));
    let manifests = index["manifests"].as_array().expect("manifests");
    let mut machines = Vec::new();
    for descriptor in manifests {
        let machine = descriptor["platform"]["architecture"]
            .as_str()
            .expect("a machine");
        machines.push(machine);
        let manifest = json(&blob(&layout, descriptor));
        let config = json(&blob(&layout, &manifest["config"]));
        assert_eq!(config["architecture"], machine);
        assert_eq!(config["config"]["User"], format!("{USER}:{USER}"));
        let layer = blob(&layout, &manifest["layers"][0]);
        let root = scratch.join(machine);
        fs::create_dir(&root).expect("a scratch directory");
        let plain = run("sh", &["-c", "gzip -dc \"$0\" | sha256sum", text(&layer)]);
        let plain = plain.split(' ').next().expect("a digest");
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{plain}"));
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can unpack files of other users");
            continue;
        }
        run("tar", &["-xzf", text(&layer), "-C", text(&root)]);
        let words = ["Entrypoint", "Cmd"].map(|key| config["config"][key].clone());
        let words = words
            .iter()
            .flat_map(|list| list.as_array().expect("words"));
        let mut broker = Command::new("chroot");
        broker.args([&format!("--userspec={USER}:{USER}"), text(&root)]);
        broker.args(emulator(&root, machine));
        broker.args(words.map(|word| word.as_str().expect("a word")));
        serves(broker);
    }
    let expected: &[&str] = if is_long() {
        &["arm64", "amd64"]
    } else {
        &["arm64"]
    };
    assert_eq!(machines, expected);
}

#[test]
#[ignore = "needs packages: cargo xtask test --only packages"]
fn packages_are_reproducible() {
    let again = TempDir::on_disk("again");
    let lines = fs::read_to_string(directory().join("made")).expect("how they were made");
    let xtask = std::env::var("SEDGE_XTASK").expect("set with SEDGE_PACKAGES");
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        run(
            &xtask,
            &[&words[..], &["--directory", text(again.path())]].concat(),
        );
    }
    for end in ["_amd64.deb", "_arm64.deb", "-linux-musl.tar.gz", ".oci.tar"] {
        let [one, two] = [&directory(), again.path()].map(|of| fs::read(package(of, end)));
        let same = one.expect("a package") == two.expect("a package");
        assert!(same, "two packages of the same sources differ: {end}");
    }
}
