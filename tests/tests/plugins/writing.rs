//! Tests a plugin's way from `sedge plugin new` to its first dropped record, in each language, by
//! the commands of the project's README.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::Options;
use sedge_tests::soak;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch};
use sedge_tests::{limits, plugin, tools};

use crate::support::{Place, component};

/// Runs `sedge plugin` in `directory`.
fn run(directory: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(tools::sedge());
    command.arg("plugin").args(arguments).current_dir(directory);
    // With the dependencies that the plugins of the repository have as well.
    command.env("CARGO_TARGET_DIR", tools::root().join("plugins/target"));
    Process::run("sedge plugin", &mut command, b"", limits::BUILD)
}

fn must(directory: &Path, arguments: &[&str]) -> Finished {
    let what = format!("sedge plugin {}", arguments.join(" "));
    tools::must(run(directory, arguments), &what)
}

/// Makes a project, builds it and runs it over its test data.
fn written(directory: &Path, name: &str, arguments: &[&str], test: &[&str]) {
    must(directory, &[&["new", name][..], arguments].concat());
    let project = directory.join(name);
    if project.join("Cargo.toml").is_file() {
        // The versions that the repository's plugins are built with, so that this is done already.
        let lock = tools::root().join("plugins/Cargo.lock");
        fs::copy(lock, project.join("Cargo.lock")).expect("copies");
    }
    let built = must(&project, &["build"]);
    let component = format!("{name}.wasm");
    assert!(built.stdout.contains(&component), "{built:?}");
    let data = ["--records", "records.jsonl", "--expect", "expected.jsonl"];
    must(&project, &[&["test", &component][..], &data, test].concat());
}

/// Deploys the filter of a template, binds a topic to it and produces a record that it drops.
fn drops(place: &mut Place, directory: &Path, name: &str) {
    let bootstrap = place.sedge.bootstrap();
    let component = directory.join(name).join(format!("{name}.wasm"));
    plugin::deploy(&bootstrap, name, &component);
    let mut at = place.connect();
    let word = format!("sedge.plugin.{name}.word");
    let bound = [("sedge.filter", name), (&word, "noise")];
    wire::create_topic(&mut at, name, 1, &bound);
    plugin::wait_taken(&mut at, name, b"only noise");
    let batch = Batch::of(&[b"noise".to_vec(), b"debug".to_vec()]).encode();
    let produced = wire::produce(&mut at, name, 0, &batch);
    assert_eq!(produced.error, wire::error::NONE, "{produced:?}");
    let log = soak::read_partition(&mut at, name, 0);
    let values: Vec<_> = log.iter().map(|record| record.value.as_slice()).collect();
    assert_eq!(values, [b"debug"], "{name}");
}

#[test]
fn projects_of_each_language_build_and_drop_their_first_record() {
    let directory = TempDir::new("writing");
    let at = directory.path();
    let mut place = Place::start("writing", Options::default());
    for lang in ["rust", "c", "js"] {
        let name = format!("my-{lang}");
        written(at, &name, &["--lang", lang], &[]);
        drops(&mut place, at, &name);
    }
    written(at, "my-quota", &["--world", "quota"], &[]);
    let partitions = ["--partitions", "12"];
    written(at, "my-keys", &["--world", "partitioner"], &partitions);
}

/// Checks a project's answers of each kind: `answers/` has a filter for each language.
fn answers(directory: &Path, lang: &str, file: &str) {
    let data = tools::root().join("tests/tests/plugins/answers");
    let name = format!("answers-{lang}");
    must(directory, &["new", &name, "--lang", lang]);
    fs::copy(data.join(file), directory.join(&name).join(file)).expect("copies");
    must(directory, &["build", &name]);
    let component = directory.join(format!("{name}.wasm"));
    let component = component.to_str().expect("a plain path");
    let test = ["test", component, "--records", "records.jsonl"];
    must(
        &data,
        &[&test[..], &["--expect", "expected.jsonl"]].concat(),
    );
    let refused = run(&data, &[&test[..], &["--config", "refuse=yes"]].concat());
    assert_eq!(refused.status.code(), Some(65), "{refused:?}");
    assert!(
        refused.stderr.contains("setting refuse: says so"),
        "{refused:?}"
    );
}

#[test]
fn c_and_javascript_give_each_kind_of_answer() {
    let directory = TempDir::new("writing-answers");
    answers(directory.path(), "c", "filter.c");
    answers(directory.path(), "js", "filter.js");
}

#[test]
fn a_changed_source_is_deployed_again_and_a_wrong_one_is_not() {
    let directory = TempDir::new("writing-dev");
    must(directory.path(), &["new", "mine", "--lang", "c"]);
    let source = directory.path().join("mine/filter.c");
    let place = Place::start("writing-dev", Options::default());
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[]);
    let mut command = Command::new(tools::sedge());
    command.args(["plugin", "dev", "mine", "--topic", "t"]);
    command.args(["--bootstrap-server", &place.sedge.bootstrap()]);
    command.args(["--console", place.sedge.console()]);
    command.current_dir(directory.path());
    let mut dev = Process::spawn("sedge plugin dev", &mut command);
    let mut wait = |what: &str| {
        dev.wait_for(what, limits::CONDITION, |output| {
            let mut lines = output.stdout.iter().chain(&output.stderr);
            lines.any(|line| line.contains(what)).then_some(())
        });
    };
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(&source).expect("is there");
        assert!(text.contains(from), "{text}");
        fs::write(&source, text.replace(from, to)).expect("writes");
    };
    wait("deployed mine, a record-filter");
    plugin::wait_taken(&mut at, "t", b"debug");
    wait("mine: drop +1");
    edit("return word.length ?", "return word.length ? wrong");
    wait("not deployed: clang failed");
    edit("? wrong", "?");
    edit("\"debug\"", "\"noise, and nothing else\"");
    // The topic has the new filter when it keeps what the old one dropped.
    let batch = Batch::of(&[b"debug".to_vec()]).encode();
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let produced = wire::produce(&mut at, "t", 0, &batch);
        assert_eq!(produced.error, wire::error::NONE, "{produced:?}");
        if wire::fetch(&mut at, "t", 0, 0).high_watermark > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the changed filter is not there");
        std::thread::sleep(limits::POLL);
    }
    wait("mine: keep +");
}

/// Not in every run: CPython takes half a minute to build and most of a minute to compile.
#[test]
fn a_project_in_python_builds_and_drops_its_first_record() {
    if !soak::is_long() {
        eprintln!("skipped: a plugin in Python takes minutes; set SEDGE_SOAK=1");
        return;
    }
    let directory = TempDir::new("writing-python");
    let at = directory.path();
    let mut place = Place::start("writing-python", Options::default());
    written(at, "my-python", &["--lang", "python"], &[]);
    drops(&mut place, at, "my-python");
    answers(at, "python", "app.py");
}

/// Not in every run: npm downloads what builds them.
#[test]
fn the_filters_in_other_languages_build_by_the_documented_commands() {
    if !soak::is_long() {
        eprintln!("skipped: AssemblyScript and Go need downloads; set SEDGE_SOAK=1");
        return;
    }
    let directory = TempDir::new("writing-others");
    for language in ["assemblyscript", "go"] {
        let at = directory.path().join(language);
        let sources = tools::root().join("plugins/other-languages").join(language);
        fs::create_dir(&at).expect("creates");
        for file in fs::read_dir(sources).expect("is there").flatten() {
            if file.path().is_file() {
                fs::copy(file.path(), at.join(file.file_name())).expect("copies");
            }
        }
        for arguments in [
            &["install", "--no-audit", "--no-fund"][..],
            &["run", "build"],
        ] {
            let mut npm = Command::new("npm");
            npm.args(arguments).current_dir(&at);
            let done = Process::run("npm", &mut npm, b"", limits::BUILD);
            tools::must(done, &format!("npm in {language}"));
        }
        must(&at, &["build", "module.wasm", "-o", "mine.wasm"]);
        let data = ["--records", "records.jsonl", "--expect", "expected.jsonl"];
        must(&at, &[&["test", "mine.wasm"][..], &data].concat());
    }
}

#[test]
fn the_examples_answer_as_their_data_says() {
    let schema = r#"schema={"type": "object", "required": ["sensor", "celsius"], "properties": {
        "sensor": {"type": "string"}, "celsius": {"type": "number", "minimum": -40, "maximum": 85}}}"#;
    for (name, setting) in [
        ("redact-json", "paths=/guest/name,email"),
        ("schema-check", schema),
    ] {
        let folder = tools::root().join("plugins").join(name);
        let file = component(name);
        let file = file.to_str().expect("a plain path");
        let data = ["--records", "records.jsonl", "--expect", "expected.jsonl"];
        must(
            &folder,
            &[&["test", file, "--config", setting][..], &data].concat(),
        );
        // A wrong setting is refused when the filter starts.
        let (key, _) = setting.split_once('=').expect("a setting");
        let wrong = format!("{key}=");
        let refused = run(
            &folder,
            &[&["test", file, "--config", &wrong][..], &data].concat(),
        );
        assert_eq!(refused.status.code(), Some(65), "{refused:?}");
        assert!(
            refused.stderr.contains(&format!("setting {key}")),
            "{refused:?}"
        );
    }
}

#[test]
fn an_existing_folder_is_not_overwritten() {
    let directory = TempDir::new("writing-twice");
    let mine = directory.path().join("mine");
    fs::create_dir(&mine).expect("creates");
    let finished = run(directory.path(), &["new", "mine"]);
    assert_eq!(finished.status.code(), Some(73), "{finished:?}");
    assert!(finished.stderr.contains("mine exists"), "{finished:?}");
    assert_eq!(fs::read_dir(&mine).expect("is there").count(), 0);
    let finished = run(directory.path(), &["new", "7up"]);
    assert_eq!(finished.status.code(), Some(64), "{finished:?}");
}

#[test]
fn a_missing_tool_is_named_with_what_brings_it() {
    let directory = TempDir::new("writing-tools");
    let build = |lang: &str| {
        must(directory.path(), &["new", lang, "--lang", lang]);
        let mut command = Command::new(tools::sedge());
        command.args(["plugin", "build", lang]);
        command.current_dir(directory.path()).env("PATH", "/none");
        let finished = Process::run("sedge plugin build", &mut command, b"", limits::COMMAND);
        assert_eq!(finished.status.code(), Some(69), "{finished:?}");
        finished.stderr
    };
    for (lang, tool, remedy) in [
        ("c", "clang is missing", "apt-get install clang lld"),
        ("js", "npm is missing", "Node.js"),
        ("python", "python3 is missing", "python3-venv"),
    ] {
        let said = build(lang);
        assert!(said.contains(tool) && said.contains(remedy), "{said}");
    }
    // Without cargo there is no compiler either, unless it is Debian's.
    let said = build("rust");
    assert!(
        said.contains("rustup target add") || said.contains("cargo is missing"),
        "{said}"
    );
    fs::create_dir(directory.path().join("empty")).expect("creates");
    let finished = run(directory.path(), &["build", "empty"]);
    assert_eq!(finished.status.code(), Some(69), "{finished:?}");
    assert!(finished.stderr.contains("plugin new"), "{finished:?}");
}
