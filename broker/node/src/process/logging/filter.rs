//! Selects the lines that are written: a default level, and levels for targets by prefix.

use log::{Level, LevelFilter};

#[derive(Debug, PartialEq, Eq)]
pub struct Filter {
    level: LevelFilter,
    /// Longest first, so that the first match is the most specific.
    targets: Vec<(String, LevelFilter)>,
}

impl Filter {
    /// Parses `LEVEL,TARGET=LEVEL,…`. Ignores invalid parts and returns a message about them.
    pub fn parse(text: &str) -> (Self, Option<String>) {
        let mut filter = Self {
            level: LevelFilter::Info,
            targets: Vec::new(),
        };
        let mut complaint = None;
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (target, level) = part.rsplit_once('=').unwrap_or(("", part));
            match (target, level.parse()) {
                ("", Ok(level)) => filter.level = level,
                (target, Ok(level)) => filter.targets.push((target.to_owned(), level)),
                (_, Err(_)) => {
                    complaint = Some(format!(
                        "`{level}` is not a log level and is ignored; use off, error, warn, info, \
                         debug or trace"
                    ));
                }
            }
        }
        filter
            .targets
            .sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        (filter, complaint)
    }

    pub fn allows(&self, target: &str, level: Level) -> bool {
        level <= self.level_of(target)
    }

    pub fn level_max(&self) -> LevelFilter {
        self.targets
            .iter()
            .map(|(_, level)| *level)
            .fold(self.level, Ord::max)
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let of_target = self.targets.iter().find(|(start, _)| {
            target
                .strip_prefix(start.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        of_target.map_or(self.level, |(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_target_decides() {
        let check = |filter: &str, target: &str, level: Level, expected: bool| {
            let (filter, _) = Filter::parse(filter);
            assert_eq!(
                filter.allows(target, level),
                expected,
                "{filter:?} {target} {level}"
            );
        };
        check("", "sedge", Level::Info, true);
        check("", "sedge", Level::Debug, false);
        check("warn", "sedge", Level::Info, false);
        check("off", "sedge", Level::Error, false);
        check(
            "info,sedge::net=debug",
            "sedge::net::gate",
            Level::Debug,
            true,
        );
        check(
            "info,sedge::net=debug",
            "sedge::network",
            Level::Debug,
            false,
        );
        check(
            "sedge=trace,sedge::net=error",
            "sedge::net",
            Level::Warn,
            false,
        );
        check(
            "sedge::net=error,sedge=trace",
            "sedge::writer",
            Level::Trace,
            true,
        );
        assert!(Filter::parse("loud").1.is_some());
        assert_eq!(
            Filter::parse("info,a=trace").0.level_max(),
            LevelFilter::Trace
        );
    }
}
