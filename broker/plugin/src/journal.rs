//! The last lines that each plugin logged.
//!
//! **Invariant:** a plugin has at most [`JOURNAL_BYTES_MAX`], and at most [`JOURNALS_MAX`] plugins
//! have lines.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use log::Level;

use crate::limits::{JOURNAL_BYTES_MAX, JOURNALS_MAX};

/// Bytes of a line besides its text, as [`Journal::lines`] writes it: a number, a time, a level and
/// what separates them.
const LINE_BYTES: usize = 48;

/// The last lines of all plugins.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    /// The number of the next line, of whichever plugin.
    next: u64,
    by_plugin: BTreeMap<String, Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

#[derive(Debug)]
struct Line {
    number: u64,
    time_ms: u128,
    level: Level,
    text: String,
}

impl Journal {
    /// Returns the lines of a plugin, oldest first: for each, its number, the time in ms since
    /// 1970, its level and its text, separated by spaces, and a line end. Numbers grow.
    #[must_use]
    pub fn lines(&self, plugin: &str) -> String {
        let lines = self.lock();
        let ring = lines.by_plugin.get(plugin);
        let mut text = String::with_capacity(ring.map_or(0, |ring| ring.bytes));
        for line in ring.iter().flat_map(|ring| &ring.lines) {
            let (number, time_ms, level) = (line.number, line.time_ms, line.level);
            let _ = writeln!(text, "{number} {time_ms} {level} {}", line.text);
        }
        text
    }

    /// Forgets the lines of plugins that `keep` refuses.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().by_plugin.retain(|plugin, _| keep(plugin));
    }

    /// Adds a line, whose text is bounded and has no line end.
    pub(crate) fn add(&self, plugin: &str, level: Level, text: &str) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut lines = self.lock();
        let number = lines.next;
        lines.next += 1;
        if !lines.by_plugin.contains_key(plugin) {
            if lines.by_plugin.len() == JOURNALS_MAX {
                lines.forget_oldest();
            }
            lines.by_plugin.insert(plugin.to_owned(), Ring::default());
        }
        let Some(ring) = lines.by_plugin.get_mut(plugin) else {
            return;
        };
        ring.bytes += text.len() + LINE_BYTES;
        ring.lines.push_back(Line {
            number,
            time_ms: since.unwrap_or_default().as_millis(),
            level,
            text: text.to_owned(),
        });
        while ring.bytes > JOURNAL_BYTES_MAX
            && let Some(line) = ring.lines.pop_front()
        {
            ring.bytes -= line.text.len() + LINE_BYTES;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Forgets the plugin that has been silent for longest.
    fn forget_oldest(&mut self) {
        let newest = |ring: &Ring| ring.lines.back().map(|line| line.number);
        let all = self.by_plugin.iter();
        let oldest = all.min_by_key(|(_, ring)| newest(ring));
        if let Some(plugin) = oldest.map(|(plugin, _)| plugin.clone()) {
            self.by_plugin.remove(&plugin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(journal: &Journal, plugin: &str) -> Vec<String> {
        let text = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
        journal.lines(plugin).lines().filter_map(text).collect()
    }

    #[test]
    fn the_last_lines_of_each_plugin_are_kept() {
        let journal = Journal::default();
        let long = "x".repeat(1000);
        for number in 0..100 {
            journal.add("a", Level::Info, &format!("{number} {long}"));
        }
        journal.add("b", Level::Warn, "one line");
        assert_eq!(texts(&journal, "b"), ["one line"]);
        let kept = texts(&journal, "a");
        assert!(kept.len() > 10 && kept.len() * 1000 < JOURNAL_BYTES_MAX);
        assert!(kept.last().is_some_and(|line| line.starts_with("99 ")));
        assert!(journal.lines("a").len() <= JOURNAL_BYTES_MAX);
        assert!(journal.lines("b").contains(" WARN one line\n"));
        journal.retain(|plugin| plugin == "b");
        assert!(texts(&journal, "a").is_empty() && !texts(&journal, "b").is_empty());
    }

    #[test]
    fn the_plugin_that_was_silent_for_longest_makes_room() {
        let journal = Journal::default();
        for number in 0..JOURNALS_MAX {
            journal.add(&format!("p{number}"), Level::Info, "first");
        }
        journal.add("p0", Level::Info, "again");
        journal.add("new", Level::Info, "first");
        assert!(texts(&journal, "p1").is_empty());
        assert_eq!(texts(&journal, "p0"), ["first", "again"]);
        assert_eq!(texts(&journal, "new"), ["first"]);
    }
}
