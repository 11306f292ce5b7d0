//! What the broker knows of devices: `__sedge_gateway`, in memory.
//!
//! **Invariant:** the state of a device changes only in a commit that has its record: under the
//! device's lock, by the owner of its session, after the writer has answered. So it is that of the
//! log, also after a crash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_channel::{Receiver, Sender};
use async_lock::MutexGuardArc;
use log::{error, info};
use sedge_core::metadata::{GATEWAY_TOPIC, Topic};
use sedge_protocol::gateway_records::{DeviceState, each_device};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Error;

use super::limits::DEVICES_KNOWN_MAX;
use crate::broker::Broker;
use crate::log::Log;
use crate::metadata::log::for_each_batch;

/// All devices.
#[derive(Debug, Default)]
pub struct Devices {
    known: Mutex<HashMap<String, Arc<Device>>>,
    /// Whether the topic is read.
    is_read: async_lock::Mutex<bool>,
    sessions: AtomicU64,
}

/// One device.
#[derive(Debug, Default)]
pub struct Device {
    state: Arc<async_lock::Mutex<DeviceState>>,
    owner: Mutex<Option<Owner>>,
}

#[derive(Debug)]
struct Owner {
    session: u64,
    /// Closed when another session takes the device over.
    _told: Sender<()>,
}

/// A session that owns a device, until another one takes it over.
#[derive(Clone, Debug)]
pub struct Owned {
    pub device: Arc<Device>,
    session: u64,
    /// Closed when another session takes the device over.
    pub replaced: Receiver<()>,
}

/// Why a device cannot be served now.
#[derive(Debug)]
pub enum Unavailable {
    /// The log cannot be read or written, or the broker is shutting down.
    Log(String),
    /// There are too many devices.
    TooMany,
}

impl Devices {
    /// Makes a new session the owner of a device. Returns whether another one lost it.
    ///
    /// # Errors
    /// The state cannot be read, or there are too many devices.
    pub async fn own(
        &self,
        broker: &Arc<Broker>,
        identity: &str,
    ) -> Result<(Owned, bool), Unavailable> {
        self.read(broker).await?;
        let device = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= DEVICES_KNOWN_MAX && !known.contains_key(identity) {
                return Err(Unavailable::TooMany);
            }
            Arc::clone(known.entry(identity.to_owned()).or_default())
        };
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let (told, replaced) = async_channel::bounded(1);
        let owner = Owner {
            session,
            _told: told,
        };
        let before = device.owner().replace(owner);
        let owned = Owned {
            device,
            session,
            replaced,
        };
        Ok((owned, before.is_some()))
    }

    /// Reads the topic, and creates it before that, if that was not done yet.
    async fn read(&self, broker: &Arc<Broker>) -> Result<(), Unavailable> {
        let mut is_read = self.is_read.lock().await;
        if *is_read {
            return Ok(());
        }
        let (_, partition) = topic(broker).await?;
        let log = Arc::clone(&broker.log);
        let read = blocking::unblock(move || restore(&log, partition)).await;
        let states = read.map_err(|failure| Unavailable::Log(failure.to_string()))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, state) in states {
            let device = Device {
                state: Arc::new(async_lock::Mutex::new(state)),
                owner: Mutex::default(),
            };
            known.insert(name, Arc::new(device));
        }
        *is_read = true;
        Ok(())
    }
}

impl Device {
    fn owner(&self) -> std::sync::MutexGuard<'_, Option<Owner>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owned {
    /// Waits for what is being written of the device, and returns its state, to read or to change.
    /// Returns `None` if another session has taken over the device.
    pub async fn state(&self) -> Option<MutexGuardArc<DeviceState>> {
        let state = self.device.state.lock_arc().await;
        let owner = self.device.owner();
        let is_owner = owner.as_ref().is_some_and(|of| of.session == self.session);
        is_owner.then_some(state)
    }

    /// Lets go of the device, if the session still owns it.
    pub fn release(&self) {
        let mut owner = self.device.owner();
        if owner.as_ref().is_some_and(|of| of.session == self.session) {
            *owner = None;
        }
    }
}

/// Returns the topic and its partition. Creates the topic if there is none.
///
/// # Errors
/// The disk is full, or the broker is shutting down.
pub async fn topic(broker: &Broker) -> Result<(Arc<Topic>, PartitionId), Unavailable> {
    let found = || {
        let image = broker.log.metadata.load();
        let topic = Arc::clone(image.topic(GATEWAY_TOPIC)?);
        let partition = topic.partition(0)?;
        Some((topic, partition))
    };
    if let Some(found) = found() {
        return Ok(found);
    }
    let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let created = broker.create_topic(GATEWAY_TOPIC, 1, configs).await;
    created.map_err(|refusal| Unavailable::Log(refusal.message))?;
    found().ok_or_else(|| Unavailable::Log("the topic was deleted".to_owned()))
}

/// Reads the state of all devices. Blocks.
fn restore(log: &Log, partition: PartitionId) -> Result<HashMap<String, DeviceState>, Error> {
    let mut states = HashMap::new();
    for_each_batch::<Error>(&*log.store, partition, Offset::ZERO, |batch| {
        let read = each_device(batch, |name, state| {
            match state {
                Some(state) => states.insert(name.to_owned(), state),
                None => states.remove(name),
            };
        });
        if let Err(why) = read {
            let offset = batch.header.base_offset();
            error!(
                target: "sedge::gateway",
                "{GATEWAY_TOPIC} at offset {offset}: {why}; what it says of devices is forgotten: \
                 they may send readings again"
            );
        }
        Ok(())
    })?;
    info!(target: "sedge::gateway", "the state of {} devices is read", states.len());
    Ok(states)
}
