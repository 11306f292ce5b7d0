//! A shard with its lock, its access to the outbox, and its waiting clients.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use sedge_core::machine::Now;
use sedge_core::metadata::Image;
use sedge_core::shard::{Actions, ActionsOf, Encoded, Planned, Reply, Shard, StateTopic, Token};
use sedge_protocol::ErrorCode;
use sedge_protocol::error::Error;

use super::outbox::{Outbox, Records, Release, Unit};
use crate::limits::COORDINATOR_APPEND_BYTES;
use crate::log::published::Published;

/// A hosted shard; see the module.
pub struct Hosted<S: Shard> {
    inner: Arc<Mutex<Inner<S>>>,
    pub(super) outbox: Arc<Outbox>,
}

pub(super) struct Inner<S: Shard> {
    pub machine: S,
    waiting: HashMap<Token, Sender<S::Body>>,
    next_token: u64,
    /// The deadline until which the clock's task sleeps.
    sleeps_until: u64,
    /// The metadata that the machine has last seen.
    image: Option<Arc<Image>>,
}

impl<S: Shard> fmt::Debug for Hosted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").finish_non_exhaustive()
    }
}

impl<S> Hosted<S>
where
    S: Shard + Send + 'static,
    S::Record: Send + Sync,
    S::Body: Send,
{
    pub(super) fn new(machine: S, outbox: Arc<Outbox>) -> Self {
        let inner = Inner {
            machine,
            waiting: HashMap::new(),
            next_token: 0,
            sleeps_until: 0,
            image: None,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            outbox,
        }
    }

    /// Calls the machine for a step that writes nothing.
    pub fn with<R>(&self, step: impl FnOnce(&mut S) -> R) -> R {
        step(&mut self.lock().machine)
    }

    /// Takes a step with an answer of its own. The answer is valid when the receiver reports that
    /// the step's records are durable.
    pub fn plan<R>(
        &self,
        step: impl FnOnce(&mut S) -> Planned<R, S::Record, S::Body>,
    ) -> (R, Receiver<Result<(), ErrorCode>>) {
        let (done, written) = async_channel::bounded(1);
        let mut inner = self.lock();
        let Planned { reply, actions } = step(&mut inner.machine);
        // A client that gave up has dropped its receiver.
        let release: Release = Box::new(move |written| {
            let _ = done.try_send(written);
        });
        self.take(&mut inner, actions, Some(release));
        (reply, written)
    }

    /// Takes a step without a waiting client.
    pub fn act(&self, step: impl FnOnce(&mut S) -> ActionsOf<S>) {
        let mut inner = self.lock();
        let actions = step(&mut inner.machine);
        self.take(&mut inner, actions, None);
    }

    /// Takes a step whose answer may come much later.
    pub fn ask(&self, step: impl FnOnce(&mut S, Token) -> ActionsOf<S>) -> Receiver<S::Body> {
        let (answer, answered) = async_channel::bounded(1);
        let mut inner = self.lock();
        let token = Token(inner.next_token);
        inner.next_token += 1;
        inner.waiting.insert(token, answer);
        let actions = step(&mut inner.machine, token);
        self.take(&mut inner, actions, None);
        answered
    }

    /// Carries out the effects of a step.
    pub(super) fn take(
        &self,
        inner: &mut Inner<S>,
        actions: ActionsOf<S>,
        release: Option<Release>,
    ) {
        let Actions { persist, then, now } = actions;
        for Reply { token, body } in now {
            if let Some(answer) = inner.waiting.remove(&token) {
                let _ = answer.try_send(body);
            }
        }
        let then = then.into_iter();
        let mut releases: Vec<Release> = then.filter_map(|reply| inner.release(reply)).collect();
        releases.extend(release);
        let units = units_of::<S>(persist)
            .into_iter()
            .map(|(records, bytes)| Unit {
                records: vec![self.records(records)],
                endings: Vec::new(),
                bytes,
            });
        self.outbox.put(units, releases);
        inner.hurry(&self.outbox);
    }

    /// Wraps records for the outbox, which tells this shard their outcome.
    pub(super) fn records(&self, records: Vec<S::Record>) -> Box<dyn Records> {
        Box::new(Kept {
            inner: Arc::clone(&self.inner),
            outbox: Arc::clone(&self.outbox),
            records,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        lock(&self.inner)
    }
}

impl<S> Inner<S>
where
    S: Shard,
    S::Body: Send + 'static,
{
    /// Wakes the clock's task after a step, if it sleeps past the machine's deadline.
    fn hurry(&self, outbox: &Outbox) {
        if self.machine.next_deadline() < self.sleeps_until {
            outbox.hurry();
        }
    }

    /// Returns a reply that waits for records; `None` if no client waits for the reply.
    fn release(&mut self, reply: Reply<S::Body>) -> Option<Release> {
        let Reply { token, body } = reply;
        let answer = self.waiting.remove(&token)?;
        Some(Box::new(move |written| {
            let body = match written {
                Ok(()) => body,
                Err(error) => S::refuse(body, error),
            };
            let _ = answer.try_send(body);
        }))
    }
}

/// A shard of any kind, as the journal uses it.
pub trait Member: Send + Sync {
    /// Calls the machine at its deadline, and passes it the metadata if that has changed. Returns
    /// when to call next, on the monotonic clock.
    fn tick(&self, now: Now, metadata: &Published<Image>) -> u64;
}

impl<S> Member for Hosted<S>
where
    S: Shard + Send + 'static,
    S::Record: Send + Sync,
    S::Body: Send,
{
    fn tick(&self, now: Now, metadata: &Published<Image>) -> u64 {
        let mut inner = self.lock();
        // Loaded under the lock, so it has every topic on which a step was decided.
        let image = metadata.load();
        let former = inner.image.replace(Arc::clone(&image));
        let is_new = former
            .as_ref()
            .is_none_or(|former| !Arc::ptr_eq(former, &image));
        let mut actions = ActionsOf::<S>::default();
        if is_new {
            actions = inner.machine.handle_image(now, former.as_deref(), &image);
        }
        actions.append(inner.machine.tick(now, &image));
        self.take(&mut inner, actions, None);
        inner.sleeps_until = inner.machine.next_deadline();
        inner.sleeps_until
    }
}

/// Records in the outbox, with their shard.
struct Kept<S: Shard> {
    inner: Arc<Mutex<Inner<S>>>,
    outbox: Arc<Outbox>,
    records: Vec<S::Record>,
}

impl<S> Records for Kept<S>
where
    S: Shard + Send,
    S::Record: Send + Sync,
    S::Body: Send + 'static,
{
    fn topic(&self) -> StateTopic {
        S::TOPIC
    }

    fn encode(&self, each: &mut dyn FnMut(&str, Encoded)) -> Result<(), Error> {
        for record in &self.records {
            each(S::partition_key(record), S::encode(record)?);
        }
        Ok(())
    }

    fn apply(&self, now: Now) {
        let mut inner = lock(&self.inner);
        for record in &self.records {
            inner.machine.apply(now, record);
        }
        inner.hurry(&self.outbox);
    }

    fn give_up(&self, now: Now) {
        let mut inner = lock(&self.inner);
        inner.machine.handle_save_failed(now, &self.records);
        inner.hurry(&self.outbox);
    }
}

fn lock<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splits a step's records into units that each fit one append, with their bytes. Most steps need
/// only one.
fn units_of<S: Shard>(mut records: Vec<S::Record>) -> Vec<(Vec<S::Record>, usize)> {
    let mut units = Vec::new();
    while !records.is_empty() {
        let mut bytes = 0;
        let fits = |record: &&S::Record| {
            let more = S::bytes_of(record);
            let fits = bytes == 0 || bytes + more <= COORDINATOR_APPEND_BYTES;
            bytes += if fits { more } else { 0 };
            fits
        };
        let count = records.iter().take_while(fits).count();
        let rest = records.split_off(count);
        units.push((mem::replace(&mut records, rest), bytes));
    }
    units
}
