//! What groups have committed: how it ages, whose topic it is of, what it may take up.

#[path = "groups/age.rs"]
mod age;
#[path = "groups/deleted_topics.rs"]
mod deleted_topics;
#[path = "groups/internal_topics.rs"]
mod internal_topics;
#[path = "groups/memory.rs"]
mod memory;
