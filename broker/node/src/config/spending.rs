//! What a link may spend, and which topics go first: its keys `budget.*`, `topics.priority` and
//! `topics.deadline.ms`.

use std::collections::BTreeMap;

use sedge_core::mirror::{Budget, Class, Hours, Limit, Priority};

use super::link_values::{number, patterns};
use super::selection::Patterns;
use crate::client::config::ConfigError;

/// The budget of a link, and the classes of its topics.
#[derive(Clone, Debug, Default)]
pub struct Spending {
    pub budget: Budget,
    priorities: Vec<(Patterns, Priority)>,
    deadlines: Vec<(Patterns, u64)>,
}

impl Spending {
    /// Takes the keys out of a link's table. `batch_bytes` is what the link joins to one batch.
    ///
    /// # Errors
    /// The key that cannot be used, and the reason.
    pub(super) fn take(
        table: &mut BTreeMap<String, String>,
        batch_bytes: usize,
    ) -> Result<Self, ConfigError> {
        let mut bytes = |key: &str| match table.remove(key) {
            None => Ok(None),
            value => number(key, value, 0_u64).map(Some),
        };
        let budget = Budget {
            bytes_per_s: bytes("budget.bytes.per.second")?,
            bytes_per_day: bytes("budget.bytes.per.day")?,
            bytes_per_month: bytes("budget.bytes.per.month")?,
            hours: hours(table.remove("budget.hours"))?,
            minutes_east: offset(table.remove("budget.utc.offset"))?,
        };
        if let Some((limit, why)) = budget.why_never(batch_bytes as u64) {
            let key = limit.to_string();
            return Err(ConfigError::new(
                &key,
                format!("{why}; set a larger number"),
            ));
        }
        if budget
            .bytes_per_s
            .is_some_and(|bytes| bytes > BYTES_PER_SECOND_MAX)
        {
            let key = Limit::Second.to_string();
            let why = format!("it is out of range; set at most {BYTES_PER_SECOND_MAX}");
            return Err(ConfigError::new(&key, why));
        }
        let key = "topics.priority";
        let priorities = by_pattern(key, table.remove(key), |text| {
            let mut all = Priority::ALL.into_iter();
            all.find(|class| class.name() == text)
                .ok_or("use high, normal or low")
        })?;
        let key = "topics.deadline.ms";
        let deadlines = by_pattern(key, table.remove(key), |text| {
            text.parse().map_err(|_| "use a number of milliseconds")
        })?;
        Ok(Self {
            budget,
            priorities,
            deadlines,
        })
    }

    /// Returns whether topics may have records left out.
    pub const fn has_deadlines(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// Returns whether topics may be of the class high.
    pub fn has_urgent(&self) -> bool {
        let mut priorities = self.priorities.iter();
        priorities.any(|(_, class)| *class == Priority::High)
    }

    /// Returns the class of a topic: of several entries that match its name, the first.
    pub fn class_of(&self, topic: &str) -> Class {
        let mut priorities = self.priorities.iter();
        let mut deadlines = self.deadlines.iter();
        let priority = priorities.find(|(pattern, _)| pattern.take(topic));
        let deadline = deadlines.find(|(pattern, _)| pattern.take(topic));
        Class {
            priority: priority.map(|(_, class)| *class).unwrap_or_default(),
            deadline_ms: deadline.map(|(_, deadline_ms)| *deadline_ms),
        }
    }
}

/// No network of a link is faster, and thousandths of it are counted.
const BYTES_PER_SECOND_MAX: u64 = 1 << 40;

/// Reads entries `PATTERN:VALUE`.
fn by_pattern<T>(
    key: &str,
    value: Option<String>,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<(Patterns, T)>, ConfigError> {
    let refused = |why: String| ConfigError::new(key, why);
    let mut found = Vec::new();
    for entry in patterns(key, value)? {
        let Some((pattern, value)) = entry.rsplit_once(':') else {
            return Err(refused(format!("{entry:?} is not PATTERN:VALUE")));
        };
        let value = value.trim();
        let value = read(value).map_err(|why| refused(format!("{value:?} is not valid; {why}")))?;
        let pattern = Patterns::new(&[pattern.trim().to_owned()]).map_err(|(pattern, why)| {
            refused(format!("{pattern:?} is not a regular expression: {why}"))
        })?;
        found.push((pattern, value));
    }
    Ok(found)
}

/// Reads parts of the day, `HH:MM-HH:MM`.
fn hours(value: Option<String>) -> Result<Vec<Hours>, ConfigError> {
    let mut hours = Vec::new();
    for entry in patterns("budget.hours", value)? {
        let part = entry.split_once('-').and_then(|(from, until)| {
            Some(Hours {
                from: minutes(from.trim(), 24)?,
                until: minutes(until.trim(), 24)?,
            })
        });
        let part = part.filter(|part| part.from != part.until && part.from < 24 * 60);
        hours.push(part.ok_or_else(|| {
            let why = format!("{entry:?} is not a part of the day such as 22:00-06:00");
            ConfigError::new("budget.hours", why)
        })?);
    }
    Ok(hours)
}

/// Reads an offset from UTC, `+HH:MM` or `-HH:MM`, in minutes.
fn offset(value: Option<String>) -> Result<i64, ConfigError> {
    let Some(value) = value else {
        return Ok(0);
    };
    let text = value.trim();
    let east = text.strip_prefix('+').and_then(|text| minutes(text, 14));
    let west = text.strip_prefix('-').and_then(|text| minutes(text, 14));
    east.or(west.map(|minutes| -minutes)).ok_or_else(|| {
        let why = format!("{text:?} is not an offset from UTC such as +02:00");
        ConfigError::new("budget.utc.offset", why)
    })
}

/// Reads `HH:MM`, at most `hours_max` hours.
fn minutes(text: &str, hours_max: i64) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let is_short = |text: &str| matches!(text.len(), 1 | 2);
    let number = |text: &str| text.parse::<u8>().ok().map(i64::from);
    let (hours_number, minutes_number) = (number(hours)?, number(minutes)?);
    let all = hours_number * 60 + minutes_number;
    let is_valid = minutes_number < 60 && all <= hours_max * 60;
    (is_valid && is_short(hours) && minutes.len() == 2).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pairs: &[(&str, &str)]) -> Result<Spending, ConfigError> {
        let pairs = pairs.iter();
        let mut table = pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Spending::take(&mut table, 64 << 10)
    }

    #[test]
    fn a_budget_is_read() {
        let spending = take(&[
            ("budget.bytes.per.second", "8000"),
            ("budget.bytes.per.day", "5000000"),
            ("budget.hours", "22:00-06:30, 12:00-13:00"),
            ("budget.utc.offset", "-03:30"),
            ("topics.priority", "alarms\\..*:high, debug:low"),
            ("topics.deadline.ms", "debug:60000"),
        ]);
        let spending = spending.unwrap();
        assert_eq!(spending.budget.bytes_per_s, Some(8000));
        assert_eq!(spending.budget.bytes_per_month, None);
        assert_eq!(spending.budget.minutes_east, -210);
        let night = Hours {
            from: 1320,
            until: 390,
        };
        assert_eq!(spending.budget.hours[0], night);
        let class = |topic: &str| {
            let class = spending.class_of(topic);
            (class.priority, class.deadline_ms)
        };
        assert_eq!(class("alarms.fire"), (Priority::High, None));
        assert_eq!(class("debug"), (Priority::Low, Some(60_000)));
        assert_eq!(class("sensors"), (Priority::Normal, None));
        assert!(take(&[]).unwrap().budget.is_unlimited());
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_key() {
        let check = |key: &str, value: &str| {
            let error = take(&[(key, value)]).unwrap_err();
            assert_eq!(error.key, key, "{error}");
        };
        check("budget.bytes.per.second", "0");
        check("budget.bytes.per.second", "fast");
        check("budget.bytes.per.day", "1000");
        check("budget.bytes.per.month", "-1");
        check("budget.hours", "22-6");
        check("budget.hours", "06:00-06:00");
        check("budget.hours", "25:00-26:00");
        check("budget.utc.offset", "CET");
        check("topics.priority", "alarms:urgent");
        check("topics.priority", "a(:high");
        check("topics.deadline.ms", "debug:soon");
    }
}
