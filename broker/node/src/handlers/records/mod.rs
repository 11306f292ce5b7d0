//! Handlers about records: produces them, fetches them, finds them by time and epoch, deletes them.

pub mod delete_records;
pub mod fetch;
mod in_transaction;
pub mod init_producer_id;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod produce;
