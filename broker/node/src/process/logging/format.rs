//! Formats a log record as a line.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, Record};

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `ts=… level=info target=sedge msg="…"`.
    #[default]
    Logfmt,
    /// One JSON object per line.
    Json,
    /// For journald: with a priority, and without a time, which journald adds.
    #[value(skip)]
    Journal,
}

impl Format {
    pub fn line(self, record: &Record<'_>, now: SystemTime, held_back: u64) -> String {
        let level = record.level().as_str().to_lowercase();
        let target = record.target();
        let message = quoted(&record.args().to_string());
        let mut line = match self {
            Self::Logfmt => {
                format!(
                    "ts={} level={level} target={target} msg={message}",
                    timestamp(now)
                )
            }
            Self::Json => {
                let timestamp = timestamp(now);
                format!(
                    "{{\"ts\":\"{timestamp}\",\"level\":\"{level}\",\"target\":{},\"msg\":{message}",
                    quoted(target)
                )
            }
            Self::Journal => {
                format!(
                    "<{}>target={target} msg={message}",
                    priority(record.level())
                )
            }
        };
        let json = self == Self::Json;
        if held_back > 0 && json {
            let _ = write!(line, ",\"held_back\":{held_back}");
        } else if held_back > 0 {
            let _ = write!(line, " held_back={held_back}");
        }
        line.push_str(if json { "}\n" } else { "\n" });
        line
    }
}

/// Returns the text in quotes, on one line and without control characters; the escapes are JSON's.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Returns the time in RFC 3339 with milliseconds, in UTC. A clock before 1970 becomes 1970.
pub fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Converts days since 1970 to year, month and day. Years begin in March here, so that the leap day
/// is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970_FROM_MARCH_0000: u64 = 719_468;
    let days = days + DAYS_TO_1970_FROM_MARCH_0000;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_right() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(
                timestamp(UNIX_EPOCH + Duration::from_secs(seconds)),
                expected
            );
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399, "2000-02-28T23:59:59.000Z");
        check(951_782_400, "2000-02-29T00:00:00.000Z");
        check(1_795_311_182, "2026-11-22T01:33:02.000Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        let arguments = format_args!("a \"b\"\nlevel=error \u{1b}[31m").to_string();
        let check = |format: Format, expected: &str| {
            let line = format.line(
                &Record::builder()
                    .args(format_args!("{arguments}"))
                    .level(Level::Warn)
                    .target("sedge::net")
                    .build(),
                UNIX_EPOCH,
                2,
            );
            assert_eq!(line, expected);
        };
        let message = r#""a \"b\"\nlevel=error \u001b[31m""#;
        let time = "1970-01-01T00:00:00.000Z";
        let plain = format!("target=sedge::net msg={message} held_back=2\n");
        check(Format::Logfmt, &format!("ts={time} level=warn {plain}"));
        check(Format::Journal, &format!("<4>{plain}"));
        check(
            Format::Json,
            &format!(
                "{{\"ts\":\"{time}\",\"level\":\"warn\",\"target\":\"sedge::net\",\"msg\":{message},\"held_back\":2}}\n"
            ),
        );
    }
}
