//! Tests committed offsets: their age, the topic that they belong to, and their memory.

#[path = "groups/age.rs"]
mod age;
#[path = "groups/deleted_topics.rs"]
mod deleted_topics;
#[path = "groups/internal_topics.rs"]
mod internal_topics;
#[path = "groups/memory.rs"]
mod memory;
