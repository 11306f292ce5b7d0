//! Tests filters and quota policies that are slow, deleted, replaced or misbehave, in a real
//! broker.

#[path = "plugins/binding.rs"]
mod binding;
#[path = "plugins/inspecting.rs"]
mod inspecting;
#[path = "plugins/letting_go.rs"]
mod letting_go;
#[path = "plugins/policy.rs"]
mod policy;
#[path = "plugins/slow.rs"]
mod slow;
#[path = "plugins/support.rs"]
mod support;
