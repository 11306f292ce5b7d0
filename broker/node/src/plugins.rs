//! Temporary.
use std::sync::Arc;

use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;

#[derive(Debug)]
pub enum Filtered {
    Kept(Batch),
    Emptied,
}

#[derive(Debug, Default)]
pub struct Plugins;

impl Plugins {
    pub fn filter(
        &self,
        topic: &Arc<Topic>,
        index: i32,
        batch: Batch,
    ) -> Result<Filtered, AppendError> {
        let _ = (topic, index, batch);
        Err(AppendError::new(
            ErrorCode::PolicyViolation,
            "plugins are not there yet",
        ))
    }
}
