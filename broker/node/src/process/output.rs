//! Prints commands' results to standard output, and everything else to standard error.

use std::fmt;
use std::io::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::failure::{Exit, Failure};
use super::logging;

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Rows of values under columns. In JSON, a row is an object with the columns' names as keys.
#[derive(Debug)]
pub struct Table {
    columns: &'static [&'static str],
    /// Columns whose numbers are milliseconds since 1970; the text form shows dates.
    dates: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// Creates an empty table.
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            dates: &[],
            rows: Vec::new(),
        }
    }

    /// Marks columns as dates. Their names end in `_ms`, since JSON has them as milliseconds.
    #[must_use]
    pub fn with_dates(self, dates: &'static [&'static str]) -> Self {
        Self { dates, ..self }
    }

    /// Adds a row, in the order of the columns.
    pub fn row(&mut self, values: impl Into<Vec<Value>>) {
        self.rows.push(values.into());
    }

    /// Returns the rows as a JSON array.
    pub fn json(self) -> Value {
        let columns = self.columns;
        let object = |row: Vec<Value>| {
            let names = columns.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(row).collect::<Map<_, _>>())
        };
        Value::Array(self.rows.into_iter().map(object).collect())
    }

    /// Returns the rows as lines, with numbers aligned to the right.
    pub fn text(&self) -> String {
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|name| {
                if self.dates.contains(name) {
                    name.trim_end_matches("_ms")
                } else {
                    name
                }
            })
            .map(|name| name.replace('_', " ").to_uppercase())
            .collect();
        let shown = |(name, value): (&&str, &Value)| match value.as_u64() {
            Some(ms) if self.dates.contains(name) => {
                logging::timestamp(UNIX_EPOCH + Duration::from_millis(ms))
            }
            _ => cell(value),
        };
        let cells: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| self.columns.iter().zip(row).map(shown).collect())
            .collect();
        let mut lines = String::new();
        let width = |column: usize| {
            let widths = cells
                .iter()
                .filter_map(|row| Some(row.get(column)?.chars().count()));
            widths
                .chain(heads.get(column).map(|head| head.chars().count()))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let is_number = |column: usize| {
            let values = self.rows.iter().filter_map(|row| row.get(column));
            let mut known = values.filter(|value| !value.is_null()).peekable();
            let is_date = self
                .columns
                .get(column)
                .is_some_and(|of| self.dates.contains(of));
            !is_date && known.peek().is_some() && known.all(Value::is_number)
        };
        let numbers: Vec<bool> = (0..heads.len()).map(is_number).collect();
        for row in std::iter::once(&heads).chain(&cells) {
            let columns = row.iter().zip(&widths).zip(&numbers);
            let padded = columns.map(|((cell, width), number)| {
                if *number {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            let line = padded.collect::<Vec<_>>().join("  ");
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines
    }

    /// Prints the table.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(self, output: Output) -> Result<(), Failure> {
        match output {
            Output::Text => line(format_args!("{}", self.text().trim_end())),
            Output::Json => json(&self.json()),
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // Text from others may contain control sequences, which a terminal would execute.
        Value::String(text) => text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect(),
        other => other.to_string(),
    }
}

/// Prints a JSON value on one line.
///
/// # Errors
/// Standard output cannot be written.
pub fn json(value: &Value) -> Result<(), Failure> {
    line(format_args!("{value}"))
}

/// Prints one line of a result.
///
/// # Errors
/// Standard output cannot be written. A reader that closed its end early does not count.
pub fn line(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out
        .write_fmt(text)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Io,
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// Prints the reason why a command failed.
pub fn error(failure: &Failure) {
    let _ = writeln!(io::stderr().lock(), "sedge: {failure}");
}

/// Prints a note that is not part of the result.
pub fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_for_eyes_and_a_number_for_programs() {
        let mut table = Table::new(&["name", "deployed_ms"]).with_dates(&["deployed_ms"]);
        table.row([Value::from("a"), Value::from(1_795_686_130_648_u64)]);
        table.row([Value::from("b"), Value::Null]);
        assert_eq!(
            table.text(),
            "NAME  DEPLOYED\na     2026-11-26T09:42:10.648Z\nb     -\n"
        );
        let json = table.json().to_string();
        assert!(json.contains("1795686130648"), "{json}");
    }

    #[test]
    fn a_table_lines_up() {
        let mut table = Table::new(&["name", "log_end"]);
        table.row([Value::from("a"), Value::from(5)]);
        table.row([Value::from("long\u{1b}er"), Value::Null]);
        assert_eq!(
            table.text(),
            "NAME     LOG END\na              5\nlong?er        -\n"
        );
        assert_eq!(
            table.json().to_string(),
            r#"[{"log_end":5,"name":"a"},{"log_end":null,"name":"long\u001ber"}]"#
        );
    }
}
