//! A session with a device: what is pending, written, subscribed and delivered in it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use async_channel::{Receiver, Sender};
use sedge_core::security::Principal;
use sedge_link::message::{Reason, Usage};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;

use super::Gateway;
use super::appends::{self, Pending, Target, Written};
use super::deliveries::{Deliveries, Record};
use super::devices::Owned;
use super::limits::POSITIONS_EVERY;
use crate::handlers::device::{Device, Fetched};

/// A read of subscribed topics.
pub type Fetching = Pin<Box<dyn Future<Output = Vec<Fetched>> + Send>>;

/// A session with a device.
pub struct Open {
    pub identity: Arc<str>,
    pub instance: u32,
    pub owned: Owned,
    pub client: Device,
    pub principal: Principal,
    pub targets: BTreeMap<u8, Result<Arc<Target>, Reason>>,
    /// Readings that are not being written yet.
    pub pending: Vec<Pending>,
    pub writes: (Sender<Written>, Receiver<Written>),
    pub is_writing: bool,
    /// When writing is tried again.
    pub paused_until: Option<Instant>,
    pub deliveries: Deliveries,
    pub fetching: Option<Fetching>,
    pub fetched_again: Option<Instant>,
    /// The record that the device has not confirmed.
    pub delivering: Option<Record>,
    /// Confirmed positions that are not written.
    pub received: Vec<(Arc<str>, i32, i64)>,
    pub positions_due: Option<Instant>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.owned.release();
    }
}

impl Open {
    /// Writes what is pending in a task of its own, which ends with the commit even if the device
    /// is gone.
    pub fn start_write(&mut self, gateway: &Arc<Gateway>) {
        self.is_writing = true;
        let readings = std::mem::take(&mut self.pending);
        let positions = std::mem::take(&mut self.received);
        self.positions_due = None;
        let (client, owned) = (self.client.clone(), self.owned.clone());
        let (identity, instance) = (Arc::clone(&self.identity), self.instance);
        let (broker, done) = (Arc::clone(&gateway.broker), self.writes.0.clone());
        let write = async move {
            let of = (&*identity, instance);
            let written =
                appends::write(&broker, (&client, &owned), of, &readings, &positions).await;
            let _ = done.try_send(written);
        };
        gateway.broker.runtime.spawn(write).detach();
    }

    /// The device has the record that was delivered.
    pub fn received(&mut self) {
        let Some(record) = self.delivering.take() else {
            return;
        };
        let next = record.offset + 1;
        let known = |(topic, partition, _): &&mut (Arc<str>, i32, i64)| {
            *topic == record.topic && *partition == record.partition
        };
        match self.received.iter_mut().find(known) {
            Some((.., offset)) => *offset = next,
            None => self.received.push((record.topic, record.partition, next)),
        }
        let due = Instant::now() + POSITIONS_EVERY;
        self.positions_due.get_or_insert(due);
    }

    pub async fn subscribe(
        &mut self,
        alias: u8,
        usage: Usage,
        topic: &Arc<str>,
    ) -> Result<(), ErrorCode> {
        let ends = self.client.ends(topic)?;
        let Some(state) = self.owned.state().await else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        let position = |(index, (oldest, next)): (usize, &_)| {
            let begin: Offset = match usage {
                Usage::SubscribeEarliest => *oldest,
                _ => *next,
            };
            let known = state.position(topic, index as i32);
            known.unwrap_or(begin.get())
        };
        let positions = ends.iter().enumerate().map(position).collect();
        self.deliveries.subscribe(alias, topic, positions);
        Ok(())
    }
}
