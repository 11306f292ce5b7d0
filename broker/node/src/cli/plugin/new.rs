//! `sedge plugin new`: a project that builds on its own.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sedge_protocol::plugin_records;
use serde_json::json;

use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};

/// What `build.rs` packed, and its size unpacked.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin_projects.zlib"));
const UNPACKED_BYTES: &str = include_str!(concat!(env!("OUT_DIR"), "/plugin_projects.bytes"));

/// The name of the plugin in the templates.
const PLACEHOLDER: &str = "my-plugin";

/// Make a project for a new plugin.
#[derive(Debug, Args)]
pub struct New {
    /// Directory to make; its name becomes the plugin's
    directory: PathBuf,
    /// Language of the plugin
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    /// What the plugin does; in other languages than Rust, a filter
    #[arg(long, value_enum, default_value_t = World::Filter)]
    world: World,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lang {
    Rust,
    C,
    Js,
    Python,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum World {
    /// Keeps, drops, replaces or rejects records
    Filter,
    /// Chooses the partition of each record
    Partitioner,
    /// Allows, throttles or rejects requests
    Quota,
}

impl New {
    /// Makes the project.
    ///
    /// # Errors
    /// The directory exists or cannot be made, or its name cannot be a plugin's.
    pub fn run(&self) -> Result<(), Failure> {
        let name = self.name()?;
        let files = self.files()?;
        let cannot = |path: &Path, error: &io::Error| {
            let what = format!("cannot write {}: {error}", path.display());
            Failure::new(Exit::CannotCreate, what)
        };
        let directory = &self.directory;
        // Fails if the directory exists, so that nothing is overwritten.
        fs::create_dir(directory).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let what = format!("{} exists; nothing was written", directory.display());
                Failure::new(Exit::CannotCreate, what)
                    .advise("name a directory that does not exist")
            }
            _ => cannot(directory, &error),
        })?;
        for (file, text) in files {
            let path = directory.join(file);
            let made = path.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| fs::write(&path, text.replace(PLACEHOLDER, name)))
                .map_err(|error| cannot(&path, &error))?;
        }
        let mut table = Table::new(&["project", "next"]);
        table.row([
            json!(directory.display().to_string()),
            json!("read its README.md"),
        ]);
        table.print(Output::Text)
    }

    fn name(&self) -> Result<&str, Failure> {
        let name = self.directory.file_name().unwrap_or_default();
        let name = name.to_str().unwrap_or_default();
        let wrong = |why: String| Failure::new(Exit::Usage, why);
        plugin_records::check_name(name).map_err(wrong)?;
        if self.lang == Lang::Rust && !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let why = format!("`{name}`: the name of a Rust crate begins with a letter");
            return Err(wrong(why));
        }
        Ok(name)
    }

    /// Returns the names of the project's files, and their texts.
    fn files(&self) -> Result<Vec<(String, String)>, Failure> {
        if self.world != World::Filter && self.lang != Lang::Rust {
            let what = "only filters have templates in other languages than Rust";
            return Err(Failure::new(Exit::Usage, what)
                .advise("use --lang rust, or the interface in wit/ of a filter's project"));
        }
        let template = match (self.lang, self.world) {
            (Lang::Rust, World::Filter) => "rust-filter/",
            (Lang::Rust, World::Partitioner) => "rust-partitioner/",
            (Lang::Rust, World::Quota) => "rust-quota/",
            (Lang::C, _) => "c/",
            (Lang::Js, _) => "js/",
            (Lang::Python, _) => "python/",
        };
        // From the packed name to the project's: a folder of the template becomes the project, the
        // SDK and the interface stay folders.
        let of_lang: &[(&str, &str)] = match self.lang {
            Lang::Rust => &[("rust/", ""), ("sdk/", "sdk/")],
            Lang::C => &[],
            Lang::Js | Lang::Python => &[("wit/", "wit/")],
        };
        let places = [&[(template, "")], of_lang].concat();
        let packed = unpacked();
        let mut files = Vec::new();
        for (name, text) in entries(&packed) {
            for (folder, place) in &places {
                let Some(inner) = name.strip_prefix(folder) else {
                    continue;
                };
                let inner = if inner == "gitignore" {
                    ".gitignore"
                } else {
                    inner
                };
                files.push((format!("{place}{inner}"), text.to_owned()));
            }
        }
        Ok(files)
    }
}

fn unpacked() -> String {
    let bytes = UNPACKED_BYTES.parse().expect("build.rs wrote a number");
    let mut text = String::with_capacity(bytes);
    flate2::read::ZlibDecoder::new(PACKED)
        .read_to_string(&mut text)
        .expect("build.rs packed texts");
    text
}

/// Returns the names and texts of the packed files.
fn entries(mut packed: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (name, rest) = packed.split_once('\n')?;
        let (length, rest) = rest.split_once('\n')?;
        let (text, rest) = rest.split_at_checked(length.parse().ok()?)?;
        packed = rest;
        Some((name, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(lang: Lang, world: World) -> Vec<(String, String)> {
        let directory = PathBuf::from("mine");
        let new = New {
            directory,
            lang,
            world,
        };
        new.files().expect("there is a template")
    }

    #[test]
    fn each_project_has_what_its_readme_names() {
        let all = [
            (Lang::Rust, World::Filter),
            (Lang::Rust, World::Partitioner),
            (Lang::Rust, World::Quota),
            (Lang::C, World::Filter),
            (Lang::Js, World::Filter),
            (Lang::Python, World::Filter),
        ];
        for (lang, world) in all {
            let files = files(lang, world);
            let has = |wanted: &str| files.iter().any(|(name, _)| name == wanted);
            for wanted in ["README.md", ".gitignore", "records.jsonl", "expected.jsonl"] {
                assert!(has(wanted), "{lang:?} {world:?}: {wanted}");
            }
            let mut names: Vec<_> = files.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), files.len(), "{names:?}");
        }
    }

    /// The release binary has a limit.
    #[test]
    fn the_templates_are_small() {
        assert!(PACKED.len() < 30 << 10, "{} bytes", PACKED.len());
    }
}
