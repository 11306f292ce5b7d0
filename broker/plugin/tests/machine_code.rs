//! Tests which precompiled machine code is loaded, and which never is.

mod guests;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use guests::{INFO, engine, instance, values};
use sedge_plugin::{
    Artifact, CodeCache, ComponentHash, Error, Limits, Plugin, SealKey, compile_ahead,
    compile_for_parent, host_target,
};

/// A directory that is removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let name = format!("sedge-plugin-{test}-{}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("can be made");
        Self(path)
    }

    fn cache(&self) -> CodeCache {
        CodeCache::open(&self.0.join("cache"), None).expect("opens")
    }

    fn code_file(&self) -> PathBuf {
        let hash = ComponentHash::of(guests::drop_out_of_range());
        self.0.join("cache").join(format!("{hash}.cwasm"))
    }

    fn key(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ahead(triple: Option<&str>, key: Option<&SealKey>) -> Vec<u8> {
    compile_ahead(guests::drop_out_of_range(), triple, &Limits::default(), key).expect("compiles")
}

fn works(plugin: &Plugin) {
    let filter = plugin.clone().into_filter().expect("a filter");
    let mut filter = instance(&filter, &[]);
    let records = values(&filter, &[br#"{"celsius":400}"#, br#"{"celsius":4}"#]);
    let outcome = filter.filter(&INFO, &records).expect("answers");
    assert_eq!(
        outcome
            .verdicts()
            .filter(|v| *v == sedge_plugin::Verdict::Keep)
            .count(),
        1
    );
}

fn load(cache: &CodeCache, deployed: &[u8]) -> Result<Plugin, Error> {
    cache.load(engine(), "range", deployed, Limits::default(), None)
}

#[test]
fn imported_code_runs_without_a_compiler() {
    let directory = Directory::new("import");
    let component = guests::drop_out_of_range();
    let error = load(&directory.cache(), component).expect_err("no code yet");
    assert!(error.to_string().contains("sedge plugin import"), "{error}");
    let artifact = ahead(None, None);
    directory
        .cache()
        .import(&artifact, &Limits::default())
        .expect("for this machine");
    // As after a restart, with either form that may have been deployed.
    works(&load(&directory.cache(), component).expect("loads"));
    works(&load(&directory.cache(), &artifact).expect("loads"));
    let mode = fs::metadata(directory.0.join("cache/key"))
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn code_for_this_triple_runs_here_too() {
    let directory = Directory::new("triple");
    let triple = format!("{}-unknown-linux-musl", host_target());
    directory
        .cache()
        .import(&ahead(Some(&triple), None), &Limits::default())
        .expect("imports");
    works(&load(&directory.cache(), guests::drop_out_of_range()).expect("loads"));
}

#[test]
fn an_artifact_from_the_network_needs_the_operators_seal() {
    let directory = Directory::new("network");
    let ours = directory.key("ours", "0123456789abcdef0123456789abcdef\n", 0o600);
    let theirs = directory.key("theirs", "0123456789abcdef0123456789abcdee\n", 0o600);
    let key = |path: &Path| SealKey::of_operator(path).expect("a key");
    let cache = CodeCache::open(&directory.0.join("cache"), Some(key(&ours))).expect("opens");
    for artifact in [ahead(None, None), ahead(None, Some(&key(&theirs)))] {
        assert!(matches!(load(&cache, &artifact), Err(Error::Untrusted)));
    }
    let sealed = ahead(None, Some(&key(&ours)));
    // Not a byte of it may change.
    let mut forged = sealed.clone();
    let in_the_code = forged.len() - 40;
    forged[in_the_code] ^= 1;
    assert!(matches!(load(&cache, &forged), Err(Error::Untrusted)));
    // An installation without the key does not trust it.
    let other = Directory::new("network-other");
    assert!(matches!(
        load(&other.cache(), &sealed),
        Err(Error::Untrusted)
    ));
    works(&load(&cache, &sealed).expect("loads"));
}

#[test]
fn forged_files_in_the_cache_are_not_loaded() {
    let directory = Directory::new("forged");
    let cache = directory.cache();
    let artifact = ahead(None, None);
    cache
        .import(&artifact, &Limits::default())
        .expect("imports");
    let sealed = fs::read(directory.code_file()).expect("is there");
    let refused = |bytes: &[u8]| {
        fs::write(directory.code_file(), bytes).expect("written");
        assert!(load(&cache, guests::drop_out_of_range()).is_err());
    };
    for at in [0, 10, 30, sealed.len() / 2, sealed.len() - 1] {
        let mut forged = sealed.clone();
        forged[at] ^= 1;
        refused(&forged);
    }
    refused(&sealed[..sealed.len() - 1]);
    refused(&artifact);
    refused(b"");
    // Another installation's seal is not trusted either.
    let other = Directory::new("forged-other");
    other
        .cache()
        .import(&artifact, &Limits::default())
        .expect("imports");
    refused(&fs::read(other.code_file()).expect("is there"));
    // Properly sealed code of another component, under this one's name.
    let misbehave = compile_ahead(guests::misbehave(), None, &Limits::default(), None);
    let hash = cache
        .import(&misbehave.expect("compiles"), &Limits::default())
        .expect("imports");
    let other = directory.0.join("cache").join(format!("{hash}.cwasm"));
    refused(&fs::read(other).expect("is there"));
    fs::write(directory.code_file(), &sealed).expect("written");
    works(&load(&cache, guests::drop_out_of_range()).expect("the right one still loads"));
}

#[test]
fn code_for_other_machines_is_refused_by_name() {
    let directory = Directory::new("other");
    // Code declared for another machine is refused, whatever it contains.
    let component = guests::drop_out_of_range();
    let hash = ComponentHash::of(component);
    let other = if host_target() == "aarch64" {
        "x86_64"
    } else {
        "aarch64"
    };
    let artifact = Artifact::write(other, hash, component, b"code", None);
    let error = directory
        .cache()
        .import(&artifact, &Limits::default())
        .expect_err("refused");
    assert!(error.to_string().contains(other), "{error}");
    // So are bytes declared for this machine that are not code at all.
    let artifact = Artifact::write(host_target(), hash, component, b"code", None);
    directory
        .cache()
        .import(&artifact, &Limits::default())
        .expect("taken at its word");
    assert!(matches!(
        load(&directory.cache(), component),
        Err(Error::NoMachineCode { .. })
    ));
    let unknown = compile_ahead(
        component,
        Some("sparc-sun-solaris"),
        &Limits::default(),
        None,
    );
    assert!(matches!(unknown, Err(Error::UnknownTarget { .. })));
}

#[cfg(feature = "cross")]
#[test]
fn code_for_other_machines_can_be_made() {
    let directory = Directory::new("cross");
    for (triple, target) in [
        ("aarch64-unknown-linux-musl", "aarch64"),
        ("armv7-unknown-linux-musleabihf", "pulley32"),
    ] {
        let made = ahead(Some(triple), None);
        let artifact = Artifact::read(&made).expect("well formed");
        assert_eq!(artifact.target, target);
        assert!(artifact.code.len() > artifact.component.len() / 2);
        if target != host_target() {
            let error = directory.cache().import(&made, &Limits::default());
            assert!(matches!(error, Err(Error::OtherTarget { .. })), "{error:?}");
        }
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let directory = Directory::new("keys");
    let long = "0123456789abcdef";
    let open = directory.key("open", long, 0o644);
    assert!(matches!(
        SealKey::of_operator(&open),
        Err(Error::BadKey { .. })
    ));
    let short = directory.key("short", "0123456789abcde\n\n", 0o600);
    assert!(matches!(
        SealKey::of_operator(&short),
        Err(Error::BadKey { .. })
    ));
    let none = directory.0.join("none");
    assert!(matches!(
        SealKey::of_operator(&none),
        Err(Error::File { .. })
    ));
    SealKey::of_operator(&directory.key("good", long, 0o400)).expect("a key");
    drop(directory.cache());
    let key = directory.0.join("cache/key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("set");
    let opened = CodeCache::open(&directory.0.join("cache"), None);
    assert!(matches!(opened, Err(Error::BadKey { .. })));
}

#[test]
fn code_that_nobody_needs_is_deleted() {
    let directory = Directory::new("retain");
    let cache = directory.cache();
    let hash = cache
        .import(&ahead(None, None), &Limits::default())
        .expect("imports");
    cache.retain(&[hash]).expect("can");
    assert!(directory.code_file().exists());
    cache.retain(&[]).expect("can");
    assert!(!directory.code_file().exists());
    assert!(directory.0.join("cache/key").exists());
}

/// Not a test of its own: the child process of the next test runs it.
#[test]
fn child_that_compiles() {
    if env::var_os("SEDGE_TEST_COMPILE").is_some() {
        // The test harness writes lines before and after; the pipe is therefore passed by number.
        let output = fs::OpenOptions::new()
            .write(true)
            .open("/dev/fd/3")
            .expect("handed over");
        compile_for_parent(std::io::stdin(), output, &Limits::default()).expect("compiles");
    }
}

/// Returns this test binary as a compiler. Its harness writes to standard output, so the output
/// becomes file descriptor 3.
fn compiler() -> Command {
    let mut command = Command::new("/bin/sh");
    let test = env::current_exe().expect("known");
    command
        .args([
            "-c",
            r#"exec "$0" --exact child_that_compiles --nocapture 3>&1 >&2"#,
        ])
        .arg(test)
        .env("SEDGE_TEST_COMPILE", "1");
    command
}

#[test]
fn a_child_compiles_once() {
    let directory = Directory::new("child");
    let cache = directory.cache();
    let component = guests::drop_out_of_range();
    let load = |compiler| cache.load(engine(), "range", component, Limits::default(), compiler);
    works(&load(Some(compiler())).expect("compiled by the child"));
    // From now on no compiler is needed.
    works(&load(Some(Command::new("/bin/false"))).expect("cached"));
    works(&load(None).expect("cached"));
    // A damaged file, or one sealed by another version, is made again.
    fs::write(directory.code_file(), b"damaged").expect("written");
    works(&load(Some(compiler())).expect("compiled again"));
}

#[test]
fn a_child_that_fails_says_why() {
    let directory = Directory::new("child-fails");
    let cache = directory.cache();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo no memory >&2; exit 3"]);
    let component = guests::drop_out_of_range();
    let error = cache
        .load(
            engine(),
            "range",
            component,
            Limits::default(),
            Some(command),
        )
        .expect_err("failed");
    assert!(error.to_string().contains("no memory"), "{error}");
    let silent = Command::new("/bin/true");
    let error = cache.load(
        engine(),
        "range",
        component,
        Limits::default(),
        Some(silent),
    );
    assert!(matches!(error, Err(Error::Artifact(_))), "{error:?}");
}
