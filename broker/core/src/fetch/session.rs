//! Fetch sessions (KIP-227): a client names its partitions once, then only changes to them, and the
//! answers contain only what changed.
//!
//! [`Sessions::begin`] turns a request into a [`Context`] with the partitions to read, in order.
//! The caller reads them. [`Sessions::finish`] takes the outcome of each and returns which belong
//! into the answer, and the session id of the answer.
//!
//! A session names topics as its request does: by name before version 13, by id (KIP-516) from
//! there on, and never both. The caller resolves ids. An id that is no longer known gives
//! `UNKNOWN_TOPIC_ID` for that partition and is never resolved to another topic of the same name,
//! so `INCONSISTENT_TOPIC_ID` cannot occur.
//!
//! **Invariant:** `order` and `index` of a session hold the same partitions.
//! **Invariant:** `partitions` of the cache is the sum over its sessions.
//! Source: Kafka's `FetchSession`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use super::limits::{SESSION_EVICTION_MS, SESSION_PARTITIONS_MAX, SESSIONS_PARTITIONS_MAX};

/// The wire's session id for no session.
pub const NO_SESSION: i32 = 0;
/// The epoch of a full fetch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a full fetch outside any session; closes the session that it names.
const FINAL_EPOCH: i32 = -1;

/// A topic as the request names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Arc<str>),
    Id([u8; 16]),
}

/// One partition that the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic: TopicKey,
    pub partition: i32,
    /// The epoch as on the wire, -1 for unknown.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub partition_max_bytes: i32,
}

/// The session's part of a Fetch request.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    pub session_id: i32,
    pub session_epoch: i32,
    /// Whether topics are named by id: from version 13.
    pub uses_topic_ids: bool,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<(TopicKey, i32)>,
}

/// The partitions to read, in this order, and the state to keep until [`Sessions::finish`].
#[derive(Clone, Debug)]
pub struct Context {
    kind: Kind,
    uses_topic_ids: bool,
    pub partitions: Vec<Wanted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sessionless,
    Full,
    Incremental { session_id: i32, epoch: i32 },
}

/// The outcome of one partition, in the order of [`Context::partitions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub record_bytes: usize,
    /// Whether the outcome is an error or a diverging epoch.
    pub is_error: bool,
}

/// The shape of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub session_id: i32,
    /// For each partition of the context, whether the answer includes it.
    pub include: Vec<bool>,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    /// The value that the client was last told; -1 if none.
    high_watermark: i64,
    log_start_offset: i64,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_topic_ids: bool,
    created: u64,
    last_used: u64,
    /// Partitions that had data move to the end, so that each gets its turn within the request's
    /// byte limit.
    order: BTreeMap<u64, Cached>,
    index: BTreeMap<(TopicKey, i32), u64>,
    next_place: u64,
}

/// All sessions of the broker.
#[derive(Debug)]
pub struct Sessions {
    slots: usize,
    by_id: BTreeMap<i32, Session>,
    partitions: usize,
    evicted: u64,
}

impl Sessions {
    /// Creates a cache of `slots` sessions (`max.incremental.fetch.session.cache.slots`); 0
    /// disables sessions.
    #[must_use]
    pub const fn new(slots: usize) -> Self {
        Self {
            slots,
            by_id: BTreeMap::new(),
            partitions: 0,
            evicted: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns the number of partitions over all sessions, for metrics.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        self.partitions
    }

    /// Returns the number of evicted sessions, for metrics.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Begins a fetch.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`:
    /// the whole answer is that code, with session id 0 and no topics. The client begins anew with
    /// a full fetch.
    pub fn begin(&mut self, now: u64, request: SessionRequest) -> Result<Context, ErrorCode> {
        let SessionRequest {
            session_id,
            session_epoch,
            uses_topic_ids,
            wanted,
            forgotten,
        } = request;
        if session_epoch == INITIAL_EPOCH || session_epoch == FINAL_EPOCH {
            self.close(session_id);
            let kind = if session_epoch == FINAL_EPOCH {
                Kind::Sessionless
            } else {
                Kind::Full
            };
            return Ok(Context {
                kind,
                uses_topic_ids,
                partitions: wanted,
            });
        }
        let session = self
            .by_id
            .get_mut(&session_id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.order.len();
        for (topic, partition) in forgotten {
            session.forget(topic, partition);
        }
        for wanted in &wanted {
            session.want(wanted.clone());
        }
        let after = session.order.len();
        self.partitions = self.partitions - before + after;
        if after == 0 || after > SESSION_PARTITIONS_MAX || self.partitions > SESSIONS_PARTITIONS_MAX
        {
            return Ok(self.leave_session(session_id, uses_topic_ids));
        }
        session.last_used = now;
        session.epoch = next_epoch(session_epoch);
        let partitions = session
            .order
            .values()
            .map(|cached| cached.wanted.clone())
            .collect();
        let kind = Kind::Incremental {
            session_id,
            epoch: session.epoch,
        };
        Ok(Context {
            kind,
            uses_topic_ids,
            partitions,
        })
    }

    /// Ends a fetch with its outcomes. `id_seed` is random; a new session's id is derived from it.
    ///
    /// # Errors
    /// `INVALID_FETCH_SESSION_EPOCH` if another request of the same session came in between,
    /// `FETCH_SESSION_ID_NOT_FOUND` if the session is gone.
    pub fn finish(
        &mut self,
        now: u64,
        context: &Context,
        outcomes: &[Outcome],
        id_seed: u32,
    ) -> Result<Answer, ErrorCode> {
        match context.kind {
            Kind::Sessionless => Ok(everything(context, NO_SESSION)),
            Kind::Full => {
                let session_id = self.create(now, context, outcomes, id_seed);
                Ok(everything(context, session_id))
            }
            Kind::Incremental { session_id, epoch } => {
                let session = self
                    .by_id
                    .get_mut(&session_id)
                    .ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                let outcomes = context.partitions.iter().zip(outcomes);
                let include = outcomes.map(|(wanted, outcome)| session.note(wanted, *outcome));
                Ok(Answer {
                    session_id,
                    include: include.collect(),
                })
            }
        }
    }

    /// Ends a fetch whose answer has no partitions, whatever was read: the client asks again. The
    /// answer has the id that this returns (`FetchContext.getThrottledResponse`).
    ///
    /// # Errors
    /// As those of [`Self::finish`].
    pub fn finish_empty(&self, context: &Context) -> Result<i32, ErrorCode> {
        let Kind::Incremental { session_id, epoch } = context.kind else {
            return Ok(NO_SESSION);
        };
        let session = self.by_id.get(&session_id);
        if session.ok_or(ErrorCode::FetchSessionIdNotFound)?.epoch == epoch {
            Ok(session_id)
        } else {
            Err(ErrorCode::InvalidFetchSessionEpoch)
        }
    }

    /// Returns whether an answer now would include any partition. A parked incremental fetch
    /// without news keeps waiting.
    #[must_use]
    pub fn has_news(&self, context: &Context, outcomes: &[Outcome]) -> bool {
        let Kind::Incremental { session_id, .. } = context.kind else {
            return true;
        };
        let Some(session) = self.by_id.get(&session_id) else {
            return true;
        };
        let mut outcomes = context.partitions.iter().zip(outcomes);
        outcomes.any(|(wanted, outcome)| session.is_news(wanted, outcome))
    }

    /// Closes a session, if one of this id exists.
    pub fn close(&mut self, session_id: i32) {
        if let Some(session) = self.by_id.remove(&session_id) {
            self.partitions -= session.order.len();
        }
    }

    /// Ends a session that is empty or too large. Its partitions are answered without a session.
    fn leave_session(&mut self, session_id: i32, uses_topic_ids: bool) -> Context {
        let session = self.by_id.remove(&session_id);
        let partitions: Vec<Wanted> = session
            .into_iter()
            .flat_map(|session| session.order.into_values())
            .map(|cached| cached.wanted)
            .collect();
        self.partitions -= partitions.len();
        Context {
            kind: Kind::Sessionless,
            uses_topic_ids,
            partitions,
        }
    }

    fn create(&mut self, now: u64, context: &Context, outcomes: &[Outcome], seed: u32) -> i32 {
        let size = context.partitions.len();
        if size == 0 || size > SESSION_PARTITIONS_MAX || !self.make_room(now, size) {
            return NO_SESSION;
        }
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids: context.uses_topic_ids,
            created: now,
            last_used: now,
            order: BTreeMap::new(),
            index: BTreeMap::new(),
            next_place: 0,
        };
        for (wanted, outcome) in context.partitions.iter().zip(outcomes) {
            session.want(wanted.clone());
            session.note(wanted, *outcome);
        }
        let session_id = self.free_id(seed);
        self.partitions += session.order.len();
        self.by_id.insert(session_id, session);
        session_id
    }

    /// Finds a free slot, or evicts a session that is stale, or that is older than the protected
    /// time and smaller than the new one.
    fn make_room(&mut self, now: u64, size: usize) -> bool {
        if self.slots == 0 || self.partitions + size > SESSIONS_PARTITIONS_MAX {
            return false;
        }
        if self.by_id.len() < self.slots {
            return true;
        }
        let stale = self
            .by_id
            .iter()
            .min_by_key(|(_, session)| session.last_used);
        let stale = stale.filter(|(_, session)| age(now, session.last_used) > SESSION_EVICTION_MS);
        let smaller = || {
            let old = self
                .by_id
                .iter()
                .filter(|(_, session)| age(now, session.created) > SESSION_EVICTION_MS);
            old.min_by_key(|(_, session)| session.order.len())
                .filter(|(_, session)| session.order.len() < size)
        };
        let Some(session_id) = stale.or_else(smaller).map(|(id, _)| *id) else {
            return false;
        };
        self.close(session_id);
        self.evicted += 1;
        true
    }

    fn free_id(&self, seed: u32) -> i32 {
        let mut id = i32::try_from(seed >> 1).unwrap_or_default().max(1);
        while self.by_id.contains_key(&id) {
            id = next_epoch(id);
        }
        id
    }
}

impl Session {
    fn want(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(cached) = self
            .index
            .get(&key)
            .and_then(|place| self.order.get_mut(place))
        {
            cached.wanted = wanted;
            return;
        }
        let place = self.place();
        self.order.insert(
            place,
            Cached {
                wanted,
                high_watermark: -1,
                log_start_offset: -1,
            },
        );
        self.index.insert(key, place);
    }

    fn forget(&mut self, topic: TopicKey, partition: i32) {
        if let Some(place) = self.index.remove(&(topic, partition)) {
            self.order.remove(&place);
        }
    }

    fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    fn is_news(&self, wanted: &Wanted, outcome: &Outcome) -> bool {
        let place = self.index.get(&(wanted.topic.clone(), wanted.partition));
        let cached = place.and_then(|place| self.order.get(place));
        cached.is_some_and(|cached| cached.is_news(outcome))
    }

    /// Records the outcome. Returns whether the client is to be told of it.
    fn note(&mut self, wanted: &Wanted, outcome: Outcome) -> bool {
        let key = (wanted.topic.clone(), wanted.partition);
        let Some(place) = self.index.get(&key).copied() else {
            return false;
        };
        let Some(cached) = self.order.get_mut(&place) else {
            return false;
        };
        let is_news = cached.is_news(&outcome);
        // An error resets what the client was told, so that when the error is over the answer
        // includes the partition again.
        cached.high_watermark = if outcome.is_error {
            -1
        } else {
            outcome.high_watermark
        };
        cached.log_start_offset = outcome.log_start_offset;
        if outcome.record_bytes > 0
            && let Some(cached) = self.order.remove(&place)
        {
            let place = self.place();
            self.order.insert(place, cached);
            self.index.insert(key, place);
        }
        is_news
    }
}

impl Cached {
    fn is_news(&self, outcome: &Outcome) -> bool {
        outcome.record_bytes > 0
            || outcome.is_error
            || self.high_watermark != outcome.high_watermark
            || self.log_start_offset != outcome.log_start_offset
    }
}

fn everything(context: &Context, session_id: i32) -> Answer {
    Answer {
        session_id,
        include: alloc::vec![true; context.partitions.len()],
    }
}

/// Epochs run from 1 to the largest number and then from 1 again: 0 and -1 have special meanings.
const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

const fn age(now: u64, since: u64) -> u64 {
    now.saturating_sub(since)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
