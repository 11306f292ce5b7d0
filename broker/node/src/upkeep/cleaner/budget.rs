//! The day's write budget (`sedge.disk.write.budget.bytes.per.day`): once it is spent, cleaning is
//! postponed if possible. Produces are never refused for it.
//!
//! Postponed are compactions that `max.compaction.lag.ms` does not require, and emptying segments
//! while there is room. Without room, records would have to be deleted instead.

use log::{info, warn};

use super::pace::Pace;
use crate::upkeep::disk_cap;

/// Returns whether more was written on the current day than the budget allows. Logs each change.
pub fn is_spent(pace: &Pace) -> bool {
    if pace.disk.budget_bytes.is_none() {
        return false;
    }
    let log = &pace.log;
    let books = pace.logbook.enter(&log.clock, &*log.store);
    let is_spent = books.is_budget_spent();
    let waits = &log.metrics.cleaner.waits_for_budget;
    let did_wait = waits.get() != 0;
    waits.set(i64::from(is_spent));
    match (did_wait, is_spent) {
        (false, true) => warn!(
            target: "sedge::cleaner",
            "the day's write budget is spent: until the day is over, only overdue partitions are \
             compacted, and segments are emptied only if space is short"
        ),
        (true, false) => {
            info!(
                target: "sedge::cleaner",
                "a new day's write budget has begun: compaction and cleaning resume"
            );
        }
        _ => {}
    }
    is_spent
}

/// Returns whether emptying segments has to wait.
pub fn holds_sweep(pace: &Pace) -> bool {
    is_spent(pace) && !disk_cap::is_room_short(&pace.log.store.usage(), &pace.disk)
}
