//! Tests filters, partitioners and quota policies in a real broker: what they do, and the slow,
//! deleted, replaced and misbehaving ones.

#[path = "plugins/binding.rs"]
mod binding;
#[path = "plugins/dead_letters.rs"]
mod dead_letters;
#[path = "plugins/fetching.rs"]
mod fetching;
#[path = "plugins/inspecting.rs"]
mod inspecting;
#[path = "plugins/letting_go.rs"]
mod letting_go;
#[path = "plugins/logging.rs"]
mod logging;
#[path = "plugins/measuring.rs"]
mod measuring;
#[path = "plugins/memory.rs"]
mod memory;
#[path = "plugins/mirroring.rs"]
mod mirroring;
#[path = "plugins/origin.rs"]
mod origin;
#[path = "plugins/partitioning.rs"]
mod partitioning;
#[path = "plugins/policy.rs"]
mod policy;
#[path = "plugins/rights.rs"]
mod rights;
#[path = "plugins/routing.rs"]
mod routing;
#[path = "plugins/slow.rs"]
mod slow;
#[path = "plugins/state.rs"]
mod state;
#[path = "plugins/state_kills.rs"]
mod state_kills;
#[path = "plugins/support.rs"]
mod support;
#[path = "plugins/trying.rs"]
mod trying;
#[path = "plugins/versions.rs"]
mod versions;
#[path = "plugins/writing.rs"]
mod writing;
