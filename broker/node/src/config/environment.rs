//! Keys from environment variables, by the rule of Kafka's images: `SEDGE_` and the key in
//! capitals, with `_` for `.`, `__` for `_`, and `___` for `-`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Settings, Source};

const PREFIX: &str = "SEDGE_";

/// Variables with our prefix that are not keys: the file itself, the log filter, and those that the
/// project's own tests and tools pass to each other.
const NOT_KEYS: &[&str] = &[
    "CONFIG",
    "LOG",
    "LOG_FORMAT",
    "BIN",
    "SOAK",
    "TOOLS",
    "SEED",
];
const NOT_KEYS_PREFIX: &str = "TEST_";

/// The configuration in the environment.
#[derive(Debug, Default)]
pub struct Environment {
    /// `SEDGE_CONFIG`.
    pub config_file: Option<PathBuf>,
    /// Key, value, variable.
    values: Vec<(String, String, String)>,
    warnings: Vec<String>,
}

/// Selects the variables with our prefix.
pub fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
    let mut environment = Environment::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let rest = name.get(PREFIX.len()..).unwrap_or_default();
        if rest == "CONFIG" {
            environment.config_file = Some(PathBuf::from(value));
        } else if rest.is_empty() || NOT_KEYS.contains(&rest) || rest.starts_with(NOT_KEYS_PREFIX) {
            // Other parts of the program read these.
        } else if let Ok(value) = value.into_string() {
            environment
                .values
                .push((key_of(rest), value, name.to_owned()));
        } else {
            environment
                .warnings
                .push(format!("the variable {name} is not UTF-8 and is ignored"));
        }
    }
    environment
}

/// Applies the variables over the file's settings.
pub fn apply(environment: Environment, settings: &mut Settings) {
    for (key, value, name) in environment.values {
        settings.put(&key, &value, Source::Environment(name));
    }
    settings.warnings.extend(environment.warnings);
}

/// Returns the variable that sets a key.
pub fn name_of(key: &str) -> String {
    let mut name = String::from(PREFIX);
    for letter in key.chars() {
        match letter {
            '.' => name.push('_'),
            '_' => name.push_str("__"),
            '-' => name.push_str("___"),
            other => name.extend(other.to_uppercase()),
        }
    }
    name
}

/// Returns the key that a variable sets; `variable` is without the prefix.
fn key_of(variable: &str) -> String {
    let mut key = String::new();
    let mut rest = variable;
    while let Some(letter) = rest.chars().next() {
        let (piece, length) = if rest.starts_with("___") {
            ("-", 3)
        } else if rest.starts_with("__") {
            ("_", 2)
        } else if letter == '_' {
            (".", 1)
        } else {
            key.extend(letter.to_lowercase());
            ("", letter.len_utf8())
        };
        key.push_str(piece);
        rest = rest.get(length..).unwrap_or_default();
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_each_other_s_inverse() {
        let check = |key: &str, name: &str| {
            assert_eq!(name_of(key), name);
            assert_eq!(key_of(name.strip_prefix(PREFIX).unwrap()), key);
        };
        check("log.retention.ms", "SEDGE_LOG_RETENTION_MS");
        check(
            "mirror.to_hq.bootstrap.servers",
            "SEDGE_MIRROR_TO__HQ_BOOTSTRAP_SERVERS",
        );
        check("mirror.to-hq.topics", "SEDGE_MIRROR_TO___HQ_TOPICS");
        check("durability", "SEDGE_DURABILITY");
    }

    #[test]
    fn leaves_other_variables_alone() {
        let variables = [
            ("PATH", "/bin"),
            ("SEDGE_CONFIG", "/tmp/a.toml"),
            ("SEDGE_LOG", "debug"),
            ("SEDGE_TEST_BOOTSTRAP", "x"),
            ("SEDGE_NODE_ID", "3"),
        ];
        let read = read(variables.into_iter().map(|(n, v)| (n.into(), v.into())));
        assert_eq!(read.config_file, Some(PathBuf::from("/tmp/a.toml")));
        assert_eq!(
            read.values,
            [(
                "node.id".to_owned(),
                "3".to_owned(),
                "SEDGE_NODE_ID".to_owned()
            )]
        );
    }
}
