//! Tests the broker's handling of its disk and clock: the cap over all topics, retention whatever
//! the clock does, a disk that is temporarily full or read-only.

#[path = "disk/cap.rs"]
mod cap;
#[path = "disk/clock.rs"]
mod clock;
#[path = "disk/full.rs"]
mod full;
#[path = "disk/recycle.rs"]
mod recycle;
#[path = "disk/volume.rs"]
mod volume;
#[path = "disk/wear.rs"]
mod wear;
