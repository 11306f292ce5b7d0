//! References in values, which the start replaces, like Kafka's configuration providers (KIP-421):
//!
//! | reference | stands for |
//! | --- | --- |
//! | `${file:PATH:KEY}` | the value of a key in a properties file |
//! | `${directory:PATH:NAME}` | a file without its last line break: a systemd or Kubernetes secret |
//! | `${env:NAME}` | an environment variable |
//!
//! A value may have several references, with text around them. The text that replaces a reference
//! is read once, at the start, and is not searched for references. If the value is a secret, no
//! other user may be able to read the file.
//!
//! **Invariant:** an error names the key and the reference, never the text that was read.

use std::ffi::OsString;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::Problem;
use super::settings::{Setting, Settings, Value};
use super::{keys, properties, text_file};
use crate::process::private_file;
use crate::process::secret::{HIDDEN, Secret};

/// Most references in one value: more are a mistake.
const REFERENCES_MAX: usize = 16;

/// Longest value with references, in bytes, before and after they are replaced.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// An environment.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Returns whether a value refers to something.
pub fn has(text: &str) -> bool {
    Reference::first_in(text).is_some()
}

/// Replaces the references in all values. A reference that cannot be read is a problem.
pub fn resolve(settings: &mut Settings, problems: &mut Vec<Problem>) {
    resolve_with(settings, problems, &|name| std::env::var_os(name));
}

fn resolve_with(settings: &mut Settings, problems: &mut Vec<Problem>, variables: Variables<'_>) {
    for (key, setting) in settings.iter_mut() {
        let written = setting.value.text();
        let Some(first) = Reference::first_in(written) else {
            continue;
        };
        // The text beside a reference is part of the secret too.
        let is_whole = first.before.is_empty() && first.after.is_empty();
        let shown = if keys::is_secret(key) && !is_whole {
            HIDDEN.to_owned()
        } else {
            written.to_owned()
        };
        match replaced(key, written, variables) {
            Ok(mut text) => {
                let text = Secret::new(std::mem::take(&mut *text));
                setting.value = Value::Referred {
                    written: shown,
                    text,
                };
            }
            Err(why) => problems.push(problem(key, setting, shown, why)),
        }
    }
}

fn problem(key: &str, setting: &Setting, value: String, why: String) -> Problem {
    Problem::Value {
        key: key.to_owned(),
        value,
        source: setting.source.clone(),
        why,
    }
}

/// Returns the value with its references replaced.
fn replaced(key: &str, written: &str, of: Variables<'_>) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let mut rest = written;
    let mut count = 0;
    while let Some(reference) = Reference::first_in(rest) {
        count += 1;
        if count > REFERENCES_MAX {
            return Err(format!("there are more than {REFERENCES_MAX} references"));
        }
        let found = reference.read(key, of)?;
        if text.len() + reference.before.len() + found.len() > VALUE_BYTES_MAX {
            return Err(format!(
                "the value has more than {VALUE_BYTES_MAX} bytes once its references are replaced"
            ));
        }
        // A buffer that grows would leave a copy of the secret in memory.
        let mut longer = Zeroizing::new(String::with_capacity(
            text.len() + reference.before.len() + found.len(),
        ));
        longer.push_str(&text);
        longer.push_str(reference.before);
        longer.push_str(&found);
        text = longer;
        rest = reference.after;
    }
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + rest.len()));
    whole.push_str(&text);
    whole.push_str(rest);
    Ok(whole)
}

/// A reference `${PROVIDER:WHERE}`, and the text around it.
struct Reference<'a> {
    before: &'a str,
    provider: &'a str,
    at: &'a str,
    after: &'a str,
}

impl<'a> Reference<'a> {
    /// As in Kafka, `${` without a `:` and a `}` is text like any other.
    fn first_in(text: &'a str) -> Option<Self> {
        let (before, rest) = text.split_once("${")?;
        let (inside, after) = rest.split_once('}')?;
        let (provider, at) = inside.split_once(':')?;
        Some(Self {
            before,
            provider,
            at,
            after,
        })
    }

    fn read(&self, key: &str, variables: Variables<'_>) -> Result<Zeroizing<String>, String> {
        let found = match self.provider {
            "env" => variable(self.at, variables),
            "file" => self.split().and_then(|(path, name)| {
                let text = file(key, Path::new(path))?;
                property(Path::new(path), &text, name)
            }),
            "directory" => self.split().and_then(|(path, name)| {
                if name.is_empty() || name == ".." || name.contains('/') {
                    return Err(
                        "write the name of a file after the directory: ${directory:PATH:NAME}"
                            .to_owned(),
                    );
                }
                let text = file(key, &Path::new(path).join(name))?;
                let trimmed = text.trim_end_matches(['\n', '\r']);
                Ok(Zeroizing::new(trimmed.to_owned()))
            }),
            _ => Err("the provider must be one of file, directory and env".to_owned()),
        };
        let Self { provider, at, .. } = self;
        found.map_err(|why| format!("${{{provider}:{at}}}: {why}"))
    }

    /// As in Kafka, a path has no `:`.
    fn split(&self) -> Result<(&'a str, &'a str), String> {
        let split = self.at.split_once(':').filter(|(path, _)| !path.is_empty());
        split.ok_or_else(|| format!("write ${{{}:PATH:NAME}}", self.provider))
    }
}

fn variable(name: &str, variables: Variables<'_>) -> Result<Zeroizing<String>, String> {
    match variables(name).map(OsString::into_string) {
        Some(Ok(value)) => Ok(Zeroizing::new(value)),
        Some(Err(_)) => Err("the variable is not UTF-8".to_owned()),
        None => Err("the variable is not set".to_owned()),
    }
}

fn file(key: &str, path: &Path) -> Result<Zeroizing<String>, String> {
    let read = text_file::read(path);
    let (text, metadata) = read.map_err(|error| format!("cannot read the file: {error}"))?;
    if keys::is_secret(key) {
        private_file::check(path, &metadata, "a secret")?;
    }
    Ok(text)
}

fn property(path: &Path, text: &str, name: &str) -> Result<Zeroizing<String>, String> {
    let (mut all, mut problems) = (Settings::default(), Vec::new());
    properties::parse(path, text, &mut all, &mut problems);
    if let Some(problem) = problems.first() {
        return Err(problem.to_string());
    }
    let found = all.get(name).ok_or("the file does not have the key")?;
    Ok(Zeroizing::new(found.value.text().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Source;
    use super::*;

    fn variables(name: &str) -> Option<OsString> {
        (name == "SITE").then(|| "north".into())
    }

    fn resolved(key: &str, written: &str) -> Result<Setting, String> {
        let (mut settings, mut problems) = (Settings::default(), Vec::new());
        settings.put(key, written, Source::Flag);
        resolve_with(&mut settings, &mut problems, &variables);
        match problems.first() {
            Some(problem) => Err(problem.to_string()),
            None => Ok(settings.get(key).expect("set above").clone()),
        }
    }

    /// A directory with a file of secrets of this mode.
    fn secrets(name: &str, mode: u32) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("sedge-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("all");
        std::fs::write(&path, "store = hunter2\nsite: south\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        directory
    }

    #[test]
    fn a_value_is_what_it_refers_to_and_shown_as_written() {
        let directory = secrets("references", 0o600);
        let at = directory.display();
        let check = |key: &str, written: &str, expected: &str, shown: &str| {
            let value = resolved(key, written).unwrap().value;
            assert_eq!((value.text(), &*value.to_string()), (expected, shown));
        };
        check(
            "cluster.id",
            "a-${env:SITE}-b",
            "a-north-b",
            "a-${env:SITE}-b",
        );
        check(
            "cluster.id",
            "${env:SITE}${env:SITE}",
            "northnorth",
            "${env:SITE}${env:SITE}",
        );
        check("cluster.id", "a${b}$c", "a${b}$c", "a${b}$c");
        check("cluster.id", "${env:SITE", "${env:SITE", "${env:SITE");
        let written = format!("${{file:{at}/all:store}}");
        check("ssl.keystore.password", &written, "hunter2", &written);
        check(
            "mirror.hq.ssl.key.password",
            &format!("x{written}"),
            "xhunter2",
            HIDDEN,
        );
        let written = format!("${{directory:{at}:all}}");
        let all = "store = hunter2\nsite: south";
        check("ssl.keystore.key", &written, all, &written);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_named_and_nothing_of_it_shown() {
        let directory = secrets("bad-references", 0o644);
        let at = directory.display();
        let check = |key: &str, written: &str, parts: &[&str]| {
            let said = resolved(key, written).unwrap_err();
            for part in parts.iter().chain([&key]) {
                assert!(said.contains(part), "{said}");
            }
            assert!(
                !said.contains("hunter2") && !said.contains("south"),
                "{said}"
            );
        };
        let key = "ssl.keystore.password";
        check(key, "${env:NONE}", &["${env:NONE}", "not set"]);
        check(key, "${vault:a:b}", &["one of file, directory and env"]);
        check(key, "hunter2${env:NONE}", &[HIDDEN]);
        check(key, "${file:/nonexistent/f:k}", &["cannot read the file"]);
        check(key, "${file:k}", &["${file:PATH:NAME}"]);
        check(
            key,
            &format!("${{file:{at}/all:store}}"),
            &["`chmod 6", "others can read"],
        );
        check(
            key,
            &format!("${{directory:{at}:../all}}"),
            &["write the name of a file"],
        );
        check(
            "cluster.id",
            &format!("${{file:{at}/all:shop}}"),
            &["does not have the key"],
        );
        check("cluster.id", &"${env:SITE}".repeat(17), &["more than 16"]);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
