//! What the broker does for its log by itself, now and then.

pub mod disk_cap;
pub mod logbook;
pub mod orphans;
pub mod producer_expiry;
pub mod retention;
pub mod scrub;
