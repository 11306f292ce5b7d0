//! What a link has spent of its budget: kept over restarts, shown, and told when a limit is
//! reached.
//!
//! The bytes of the day and of the month are the metadata of one committed offset of the group
//! `sedge-budget-LINK`, in words separated by spaces: `day=NUMBER:BYTES` and `month=NUMBER:BYTES`,
//! numbered from January 1970 on. They are committed when the link stops, and before that each
//! time when another [`limits::SPENT_PART`] of the budget was spent: a crash forgets less than
//! that.

use sedge_core::mirror::{Class, Closed, Limit, Meter, Priority, Spent};
use sedge_core::offsets::OffsetToCommit;
use sedge_protocol::ids::{Offset, PartitionIndex};

use crate::metrics::BudgetFigures;

use super::cursors;
use super::limits;
use super::link::Link;
use super::{Local, budget_group_of};

/// The name under which the offset is committed; no topic can have it.
const NAME: &str = "(spent)";

impl Link {
    /// Continues with what an earlier process has spent.
    pub(super) fn use_budget(&mut self) {
        let spending = &self.config.spending;
        if spending.budget.is_unlimited() && !spending.has_deadlines() {
            return;
        }
        let spent = saved(&self.local, &self.config.name);
        self.saved_spent = spent;
        let meter = Meter::new(spending.budget.clone(), spent, self.now_ms());
        self.plan.use_budget(meter);
        self.look_at_clock();
    }

    /// Tells the plan the time of the wall clock.
    pub(super) fn look_at_clock(&mut self) {
        let now = self.local.log.clock.now();
        self.plan.handle_clock(now.monotonic_ms, now.wall_ms);
    }

    /// Returns the class of a topic.
    pub(super) fn class_of(&self, topic: &str) -> Class {
        self.config.spending.class_of(topic)
    }

    /// Shows what is left, and logs a limit once when it is reached and once when it is over.
    pub(super) fn report_budget(&mut self) {
        let Some((day, month)) = self.plan.meter().map(Meter::left) else {
            return;
        };
        let now_ms = self.now_ms();
        let closed = self.plan.closed(Priority::Normal, now_ms);
        self.metrics.set_budget(BudgetFigures {
            day_left_bytes: day,
            month_left_bytes: month,
            waits_for: closed.map(|closed| (closed.limit.to_string(), closed.wait_ms)),
        });
        // The bytes a second are reached all the time.
        let lasting = closed.filter(|closed| closed.limit != Limit::Second);
        let limit = lasting.map(|closed| closed.limit);
        if std::mem::replace(&mut self.told_limit, limit) == limit {
            return;
        }
        let link = &self.config.name;
        match lasting {
            Some(Closed { limit, wait_ms }) => {
                let minutes = wait_ms.div_ceil(60_000);
                log::info!(
                    target: "sedge::mirror",
                    "{link}: {limit} is reached: the link goes on in {minutes} min; topics of the \
                     class high go on as long as the budget has bytes for them"
                );
            }
            None => log::info!(target: "sedge::mirror", "{link}: the budget lets the link go on"),
        }
    }

    /// Commits what was spent, if it is due or `is_last`.
    pub(super) async fn save_spent(&mut self, is_last: bool) {
        let Some(spent) = self.plan.meter().map(Meter::spent) else {
            return;
        };
        let budget = &self.config.spending.budget;
        let is_due = |all: Option<u64>, now: u64, saved: u64| {
            let part = all.map(|all| (all / limits::SPENT_PART).max(1));
            part.is_some_and(|part| now.abs_diff(saved) >= part || (is_last && now != saved))
        };
        let saved = self.saved_spent;
        let is_due = is_due(budget.bytes_per_day, spent.day_bytes, saved.day_bytes)
            || is_due(budget.bytes_per_month, spent.month_bytes, saved.month_bytes);
        if !is_due {
            return;
        }
        let offset = OffsetToCommit {
            topic: NAME.to_owned(),
            partition: PartitionIndex(0),
            offset: Offset(0),
            metadata: write(spent),
            retention_ms: Some(i64::MAX),
            ..OffsetToCommit::default()
        };
        let group = budget_group_of(&self.config.name);
        let written = cursors::write(&self.local, &group, vec![offset]).await;
        match written.and_then(|results| results.into_iter().collect()) {
            Ok(()) => self.saved_spent = spent,
            Err(error) => {
                let link = &self.config.name;
                log::warn!(
                    target: "sedge::mirror",
                    "{link}: what was spent of the budget cannot be committed: {error}; a restart \
                     would not know of it"
                );
            }
        }
    }
}

fn saved(local: &Local, link: &str) -> Spent {
    local.groups.with(|groups| {
        let group = budget_group_of(link);
        let saved = groups.offsets().find(&group, NAME, PartitionIndex(0));
        saved.map_or_else(Spent::default, |saved| read(&saved.metadata))
    })
}

fn write(spent: Spent) -> String {
    let Spent {
        day,
        day_bytes,
        month,
        month_bytes,
    } = spent;
    format!("day={day}:{day_bytes} month={month}:{month_bytes}")
}

fn read(metadata: &str) -> Spent {
    let mut spent = Spent::default();
    for word in metadata.split(' ') {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        let Some((number, bytes)) = value.split_once(':') else {
            continue;
        };
        let (Ok(number), Ok(bytes)) = (number.parse(), bytes.parse()) else {
            continue;
        };
        match key {
            "day" => (spent.day, spent.day_bytes) = (number, bytes),
            "month" => (spent.month, spent.month_bytes) = (number, bytes),
            _ => {}
        }
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_read_back_and_nonsense_is_nothing() {
        let spent = Spent {
            day: 20_784,
            day_bytes: 5,
            month: 682,
            month_bytes: 1 << 40,
        };
        assert_eq!(read(&write(spent)), spent);
        for nonsense in ["", "day", "day=", "day=1", "day=x:1", "day=1:-1"] {
            assert_eq!(read(nonsense), Spent::default(), "{nonsense:?}");
        }
    }
}
