//! Keys from a file: TOML, unless its name marks it as properties. A dotted key, a quoted one and a
//! nested table are equivalent: `"log.retention.ms" = 1`, `log.retention.ms = 1` and
//! `[log.retention]` with `ms = 1`.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::error::{ConfigError, Problem};
use super::lines::Lines;
use super::settings::Value;
use super::{Settings, Source, keys, properties, references, text_file};
use crate::process::private_file;

/// Reads the file into the settings; its problems are added to `problems`.
pub fn read(path: &Path, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let (text, metadata) = match text_file::read(path) {
        Ok(read) => read,
        Err(error) => {
            problems.push(Problem::Read {
                path: path.to_path_buf(),
                error,
            });
            return;
        }
    };
    if properties::is_named_so(path) {
        properties::parse(path, &text, settings, problems);
    } else {
        parse(path, &text, settings, problems);
    }
    if let Some(key) = secret_in(settings)
        && let Err(why) = private_file::check(path, &metadata, &format!("a secret ({key})"))
    {
        let warning = format!("{why}; or replace the secret by ${{file:PATH:KEY}}");
        settings.warnings.push(warning);
    }
}

/// Returns the first key whose value is a secret in plain text, not a reference.
fn secret_in(settings: &Settings) -> Option<&str> {
    let mut all = settings.iter();
    let found = all.find(|(_, setting)| match &setting.value {
        Value::Secret(secret) => !references::has(secret.text()),
        _ => false,
    });
    found.map(|(key, _)| key)
}

/// Reads the keys of a file of this form that is not a whole configuration, such as a link's.
///
/// # Errors
/// All problems of the file.
pub fn read_keys(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let (mut settings, mut problems) = (Settings::default(), Vec::new());
    read(path, &mut settings, &mut problems);
    resolved(settings, problems)
}

/// Reads a properties file that is not a broker's configuration, such as a client's.
///
/// # Errors
/// All problems of the file.
pub fn read_properties(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let (mut settings, mut problems) = (Settings::default(), Vec::new());
    match text_file::read(path) {
        Ok((text, _)) => properties::parse(path, &text, &mut settings, &mut problems),
        Err(error) => problems.push(Problem::Read {
            path: path.to_path_buf(),
            error,
        }),
    }
    resolved(settings, problems)
}

fn resolved(
    mut settings: Settings,
    mut problems: Vec<Problem>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    references::resolve(&mut settings, &mut problems);
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let all = settings.iter();
    Ok(all
        .map(|(key, setting)| (key.to_owned(), setting.value.text().to_owned()))
        .collect())
}

/// Parses the text of a file. Public for the fuzzer.
pub fn parse(path: &Path, text: &str, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            let message = match properties_line(text, line) {
                Some((key, value)) => format!(
                    "{}: the file is read as TOML; write \"{key}\" = {}, or name the file \
                     NAME.properties to have it read as Kafka's",
                    error.message(),
                    if keys::is_secret(key) {
                        "\"…\"".to_owned()
                    } else {
                        value.to_string()
                    },
                ),
                None => error.message().to_owned(),
            };
            problems.push(Problem::Syntax {
                path: path.to_path_buf(),
                line,
                message,
            });
            return;
        }
    };
    let mut reader = Reader {
        path,
        text,
        settings,
        problems,
        lines: Lines::default(),
    };
    reader.table("", table.get_ref());
}

/// Reads a line in the form of Kafka's properties whose value is TOML.
fn properties_line(text: &str, line: usize) -> Option<(&str, toml::Value)> {
    let (key, value) = text.lines().nth(line.checked_sub(1)?)?.split_once('=')?;
    let (key, value) = (key.trim().trim_matches('"'), value.trim());
    let is_key = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let is_one = !key.is_empty() && key.chars().all(is_key);
    let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', '{']);
    (is_one && is_bare).then(|| (key, toml::Value::from(value)))
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    settings: &'a mut Settings,
    problems: &'a mut Vec<Problem>,
    lines: Lines,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        // The toml crate bounds the depth of tables, so the recursion is bounded too.
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            let line = line_of(self.text, name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&key, inner),
                value => self.value(&key, line, value),
            }
        }
    }

    fn value(&mut self, key: &str, line: usize, value: &DeValue<'_>) {
        if key.is_empty() {
            self.problems.push(Problem::Syntax {
                path: self.path.to_path_buf(),
                line,
                message: "the key is empty; write a name before the `=`".to_owned(),
            });
            return;
        }
        if !self.lines.is_new(key, line, self.path, self.problems) {
            return;
        }
        match text_of(value) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                let source = Source::File {
                    path: self.path.to_path_buf(),
                    line,
                };
                self.settings.put(key, &text, source);
            }
            Err(kind) => self.problems.push(Problem::Syntax {
                path: self.path.to_path_buf(),
                line,
                message: format!(
                    "`{key}` has {kind} as its value; use a string, a number, true, false or a list"
                ),
            }),
        }
    }
}

/// Returns a value in the form of Kafka's properties, or the name of a kind that no key accepts.
fn text_of(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Float(value) => Ok(value.as_str().to_owned()),
        DeValue::Integer(value) => match value.radix() {
            10 => Ok(value.as_str().to_owned()),
            radix => i64::from_str_radix(value.as_str(), radix)
                .map(|value| value.to_string())
                .map_err(|_| "a number out of range"),
        },
        DeValue::Array(values) => {
            let texts: Result<Vec<_>, _> = values.iter().map(element).collect();
            Ok(texts?.join(","))
        }
        DeValue::Datetime(_) => Err("a date"),
        DeValue::Table(_) => Err("a table"),
    }
}

fn element(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::Array(_) => Err("a list of lists"),
        // The elements are joined with commas.
        DeValue::String(text) if text.contains(',') => Err("a list with a comma inside an element"),
        value => text_of(value),
    }
}

fn line_of(text: &str, position: usize) -> usize {
    1 + text
        .bytes()
        .take(position)
        .filter(|byte| *byte == b'\n')
        .count()
}
