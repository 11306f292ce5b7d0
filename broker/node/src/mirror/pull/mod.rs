//! Pull links: copy an upstream's topics to here.
//!
//! A copied topic has the offsets of its upstream twin, and clients cannot write to it. So the end
//! of each of its logs is the link's cursor: a record and the fact that it was copied are one
//! write, and a crash, a lost answer or a second try copies nothing twice. Consumers find the same
//! offsets on both sides.
//!
//! | module | contents |
//! | --- | --- |
//! | `configs` | the configuration of the topics here |
//! | `plan` | what a link would do |
//! | `topics` | the topics here: created, grown, and told apart from others of their names |
//! | `source` | one upstream partition: where it is read, and why it waits |
//!
//! **Invariant:** a link writes only to topics whose `sedge.mirror.source` names it and the
//! upstream topic's id.

mod configs;
mod plan;
mod source;
mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use event_listener::EventListener;
use futures_lite::FutureExt;
use sedge_core::backoff::Backoff;
use sedge_core::mirror::Pace;
use sedge_core::mirror::pull::{self, Bounds};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::FetchResponseData;

use crate::client::cluster::Target;
use crate::client::fetches::{FetchBounds, Wanted, fetch_request, fetched};
use crate::client::records::{EARLIEST, LATEST, is_about_leadership};
use crate::client::{Client, Error};
use crate::config::LinkConfig;
use crate::metrics::{Failure, Figures, Holds, LinkMetrics, LinkState, Progress};
use crate::writer::Copied;

use super::groups::{Groups, Pair};
use super::pause::Pause;
use super::{Local, limits};
use source::Source;

/// An upstream partition, by topic and index.
type Place = (Arc<str>, i32);

/// The answer of a broker to a fetch of these partitions.
struct Answered {
    broker: i32,
    asked: BTreeMap<Place, Offset>,
    result: Result<FetchResponseData, Error>,
}

pub struct Pull {
    local: Local,
    config: LinkConfig,
    client: Client,
    backoff: Backoff,
    metrics: Arc<LinkMetrics>,
    sources: BTreeMap<Place, Source>,
    /// Topics that are not copied, with the reasons.
    refused: BTreeMap<String, String>,
    /// Copies whose configuration cannot be kept in step, with the reasons.
    notes: BTreeMap<String, String>,
    groups: Groups,
    /// In records, and in bytes.
    paces: (Pace, Pace),
    /// When the configurations are compared again.
    configs_at: Instant,
    /// Reason why the link copies nothing at all.
    idle: Option<String>,
    /// Reasons that were logged, by topic or partition.
    told: BTreeMap<String, String>,
    /// Brokers that have a fetch.
    asked: BTreeSet<i32>,
    answers: (Sender<Answered>, Receiver<Answered>),
    stopping: Receiver<()>,
    prepare_at: Instant,
}

impl Pull {
    pub fn new(
        local: Local,
        config: LinkConfig,
        metrics: Arc<LinkMetrics>,
        stopping: Receiver<()>,
    ) -> Self {
        Self {
            client: Client::new(local.runtime.executor(), config.client.clone()),
            backoff: Backoff::new(
                config.client.retry_backoff.as_millis() as u64,
                config.client.retry_backoff_max.as_millis() as u64,
            ),
            metrics,
            sources: BTreeMap::new(),
            refused: BTreeMap::new(),
            notes: BTreeMap::new(),
            groups: Groups::default(),
            paces: <(Pace, Pace)>::default(),
            configs_at: Instant::now(),
            idle: None,
            told: BTreeMap::new(),
            asked: BTreeSet::new(),
            answers: async_channel::bounded(limits::EVENTS_MAX),
            stopping,
            prepare_at: Instant::now(),
            local,
            config,
        }
    }

    /// Runs until the link is stopped.
    pub async fn run(mut self) {
        if self.config.is_paused {
            self.metrics.set_state(LinkState::Paused);
            let _ = self.stopping.recv().await;
            return;
        }
        self.metrics.set_state(LinkState::Connecting);
        if self.declare_topics().await.is_err() {
            return;
        }
        loop {
            let pause = match self.prepare().await {
                Ok(()) => self.copy().await,
                Err(pause) => pause,
            };
            match pause {
                Pause::Prepare => {}
                Pause::Stop => break,
                Pause::Failed(error) => {
                    if self.wait_after(&error).await {
                        break;
                    }
                }
            }
        }
        log::info!(target: "sedge::mirror", "{}: stopped", self.config.name);
    }

    /// Backs off after a failure of the upstream. Returns true if the link must stop.
    async fn wait_after(&mut self, error: &Error) -> bool {
        let wait = Duration::from_millis(self.backoff.fail(fastrand::u64(..)));
        if self.backoff.failures() == 1 {
            let name = &self.config.name;
            log::warn!(target: "sedge::mirror", "{name}: the upstream fails: {error}; retrying");
        }
        let why = error.to_string();
        self.metrics.failed(Failure {
            why: why.clone(),
            at_ms: self.local.log.clock.now().wall_ms,
            next_try: Some(Instant::now() + wait),
        });
        self.metrics.set_state(if error.is_retriable() {
            LinkState::BackingOff { why }
        } else {
            LinkState::Blocked { why }
        });
        let stop = async {
            let _ = self.stopping.recv().await;
            true
        };
        let network = self.local.network.listen();
        let over = async {
            Timer::after(wait)
                .or(async {
                    network.await;
                    Instant::now()
                })
                .await;
            false
        };
        stop.or(over).await
    }

    /// Matches the topics of both sides.
    async fn prepare(&mut self) -> Result<(), Pause> {
        self.prepare_at = Instant::now() + limits::RECHECK_EVERY;
        self.match_topics().await?;
        if self.backoff.failures() > 0 {
            let name = &self.config.name;
            log::info!(target: "sedge::mirror", "{name}: the upstream answers again");
        }
        self.backoff.succeed();
        self.metrics.retried();
        self.metrics.set_state(match self.idle.clone() {
            Some(why) => LinkState::Idle { why },
            None => LinkState::Running,
        });
        self.report();
        Ok(())
    }

    /// Copies until an obstacle must be handled first.
    async fn copy(&mut self) -> Pause {
        loop {
            // Listens before it looks, so that no event is missed in between.
            let changed = self.local.log.image_changed();
            if Instant::now() >= self.prepare_at {
                return Pause::Prepare;
            }
            if let Err(error) = self.ask().await {
                return Pause::Failed(error);
            }
            self.keep_groups().await;
            if let Err(pause) = self.wait(changed).await {
                return pause;
            }
        }
    }

    /// Compares the offsets of groups on both sides, if it is time.
    async fn keep_groups(&mut self) {
        let groups = &self.config.groups;
        if groups.is_empty() || !self.groups.is_due(&self.config.name).await {
            return;
        }
        let pairs = self.sources.iter().map(|((topic, index), source)| Pair {
            here: Arc::clone(topic),
            topic_id: source.topic.id,
            there: Arc::clone(topic),
            index: *index,
            end: source.next,
        });
        let (local, client) = (&self.local, &self.client);
        self.groups
            .begin(&self.config, local, client, &self.metrics, pairs.collect());
    }

    /// Sends a fetch to each broker that has none and leads a partition that is ready.
    async fn ask(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let mut by_leader: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
        for (place, source) in &self.sources {
            if !source.is_ready(now) {
                continue;
            }
            let leader = self.client.known_leader(&place.0, place.1);
            if let Some(leader) = leader.filter(|leader| !self.asked.contains(leader)) {
                let asked = by_leader.entry(leader).or_default();
                asked.push(place.clone());
            }
        }
        for (broker, mut asked) in by_leader {
            // Each partition is the first of a request once in a while, and so has room in the
            // answer.
            let first = fastrand::usize(..asked.len());
            asked.rotate_left(first);
            asked.truncate(limits::FETCHED_PARTITIONS_MAX);
            let connection = self.client.connection(Target::Broker(broker)).await?;
            let Some(room) = connection.place() else {
                continue;
            };
            let bounds = FetchBounds {
                wait_ms: limits::FETCH_WAIT.as_millis() as i32,
                bytes_max: limits::FETCH_BYTES as i32,
                partition_bytes_max: limits::FETCH_PARTITION_BYTES as i32,
            };
            let sources = asked.iter().filter_map(|place| {
                let source = self.sources.get(place)?;
                Some((place, source))
            });
            let wanted = sources.clone().map(|(place, source)| Wanted {
                topic: &place.0,
                topic_id: source.upstream_id,
                index: place.1,
                offset: source.next,
            });
            let in_flight = connection.start(&fetch_request(wanted, bounds), room)?;
            let asked = sources.map(|(place, source)| (place.clone(), source.next));
            let asked = asked.collect();
            let answers = self.answers.0.clone();
            self.asked.insert(broker);
            let waiting = async move {
                let result = in_flight.wait().await;
                let answered = Answered {
                    broker,
                    asked,
                    result,
                };
                let _ = answers.send(answered).await;
            };
            self.local.runtime.spawn(waiting).detach();
        }
        Ok(())
    }

    /// Waits for the first event, and handles the answers that are there.
    async fn wait(&mut self, changed: EventListener) -> Result<(), Pause> {
        // A partition whose time has come waits for its broker: another fetch, or a leader.
        let now = Instant::now();
        let ready = self.sources.values().filter_map(Source::ready_at);
        let ready = ready.filter(|at| *at > now);
        let until = ready.chain([self.prepare_at]).min();
        let until = until.unwrap_or(self.prepare_at);
        let answers = self.answers.1.clone();
        let answer = async { answers.recv().await.ok() };
        let changed = async {
            changed.await;
            None
        };
        let deadline = async {
            Timer::at(until).await;
            None
        };
        let stop = async {
            let _ = self.stopping.recv().await;
            Err(Pause::Stop)
        };
        let event = async { Ok(answer.or(changed).or(deadline).await) };
        let mut answered = stop.or(event).await?;
        if answered.is_none() && self.has_other_topics() {
            return Err(Pause::Prepare);
        }
        while let Some(answer) = answered {
            self.handle(answer).await?;
            answered = answers.try_recv().ok();
        }
        Ok(())
    }

    /// Writes what an answer has.
    async fn handle(&mut self, answered: Answered) -> Result<(), Pause> {
        self.asked.remove(&answered.broker);
        let all = fetched(answered.result?)?;
        let (mut copies, mut moved, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        let mut asked = answered.asked;
        let names = asked.keys().filter_map(|place| {
            let source = self.sources.get(place)?;
            Some((source.upstream_id, Arc::clone(&place.0)))
        });
        let names: HashMap<KafkaUuid, Arc<str>> = names.collect();
        for fetched in all {
            let topic = if fetched.topic.is_empty() {
                names.get(&fetched.topic_id).cloned()
            } else {
                Some(fetched.topic.as_str().into())
            };
            // One that was not asked for, or is gone by now.
            let place = topic.map(|topic| (topic, fetched.index));
            let Some((place, offset)) = place.and_then(|place| asked.remove_entry(&place)) else {
                continue;
            };
            let Some(source) = self.sources.get_mut(&place) else {
                continue;
            };
            match fetched.error {
                ErrorCode::None => {
                    if let Some((copied, next)) = source.take(offset, fetched) {
                        copies.push(copied);
                        moved.push((place, next));
                    }
                }
                ErrorCode::OffsetOutOfRange => outside.push(place),
                code => self.handle_refusal(&place, code),
            }
        }
        if !copies.is_empty() {
            self.write(copies, moved).await?;
        }
        for place in outside {
            self.compare(&place).await?;
        }
        self.report();
        Ok(())
    }

    /// Writes the batches. `moved` has their partitions, and where the next fetches begin.
    async fn write(
        &mut self,
        copies: Vec<Copied>,
        moved: Vec<(Place, Offset)>,
    ) -> Result<(), Pause> {
        let counts = copies.iter().map(|copied| {
            let records = copied
                .batches
                .iter()
                .map(|batch| batch.header.record_count());
            let bytes = copied
                .batches
                .iter()
                .map(sedge_protocol::batch::Batch::bytes);
            let newest = copied.batches.iter();
            let newest_ms = newest.map(|batch| batch.header.max_timestamp()).max();
            (
                records.map(|n| n.max(0) as u64).sum::<u64>(),
                bytes.sum::<usize>() as u64,
                newest_ms.unwrap_or(-1),
            )
        });
        let counts: Vec<(u64, u64, i64)> = counts.collect();
        let ends = self.local.writer.copy(copies).await?;
        for ((end, (place, next)), (records, bytes, newest_ms)) in
            ends.into_iter().zip(moved).zip(counts)
        {
            let Some(source) = self.sources.get_mut(&place) else {
                continue;
            };
            match end {
                Ok(_) => {
                    source.next = next;
                    source.see(records, bytes, newest_ms);
                    source.succeed();
                    self.metrics.received_records.add(records);
                    self.metrics.received_bytes.add(bytes);
                }
                Err(error) => {
                    let why = error.message.unwrap_or_else(|| error.code.to_string());
                    source.wait(format!("the broker cannot write what was fetched: {why}"));
                }
            }
        }
        Ok(())
    }

    fn handle_refusal(&mut self, place: &Place, code: ErrorCode) {
        if is_about_leadership(code) {
            self.client.forget(&place.0);
            let soon = Instant::now() + self.config.client.retry_backoff;
            self.prepare_at = self.prepare_at.min(soon);
        }
        if let Some(source) = self.sources.get_mut(place) {
            source.wait(format!("the upstream answers {code}"));
        }
    }

    /// Finds out why the upstream does not have the next offset.
    async fn compare(&mut self, place: &Place) -> Result<(), Error> {
        let bound = async |time: i64| {
            let wanted = [(&*place.0, place.1, time)];
            let found = self.client.list_offsets(&wanted).await?;
            Ok::<_, Error>(found.into_values().next().flatten().unwrap_or(Offset::ZERO))
        };
        let (start, end) = (bound(EARLIEST).await?, bound(LATEST).await?);
        let Some(source) = self.sources.get_mut(place) else {
            return Ok(());
        };
        let here = source.next;
        match pull::compare(here, start, end) {
            Bounds::Within => source.wait("the upstream does not have the offset yet".to_owned()),
            Bounds::Behind { next, lost } => {
                source.next = next;
                self.metrics.lost_to_retention.add(lost.unsigned_abs());
                let (link, (topic, index)) = (&self.config.name, place);
                log::error!(
                    target: "sedge::mirror",
                    "{link}: retention upstream deleted the offsets {here} to {next} of \
                     {topic}-{index} before they were copied"
                );
            }
            Bounds::Ahead => source.wait(format!(
                "the upstream ends at {end}, and the log here at {here}: the upstream lost \
                 records; delete the topic here to copy it anew, or remove its \
                 sedge.mirror.source to keep what is here"
            )),
        }
        Ok(())
    }

    /// Returns whether a topic here was deleted, or has another configuration, by which it may be
    /// no copy any more.
    fn has_other_topics(&self) -> bool {
        let image = self.local.log.metadata.load();
        let is_other = |source: &Source| {
            let topic = image.topic_by_id(source.topic.id);
            topic.is_none_or(|topic| topic.config != source.topic.config)
        };
        let is_free = |name: &String| image.topic(name).is_none();
        self.sources.values().any(is_other) || self.refused.keys().any(is_free)
    }

    /// Returns the lag of the link and of its topics, the largest first.
    fn progress(&mut self) -> Progress {
        let now = self.local.log.clock.now();
        let mut link = Figures::default();
        let mut by_topic: BTreeMap<&str, Figures> = BTreeMap::new();
        for ((topic, _), source) in &self.sources {
            let of_topic = by_topic.entry(topic).or_default();
            for figures in [of_topic, &mut link] {
                figures.lag_records += source.lag();
                figures.lag_bytes += source.lag_bytes();
                figures.lag_ms = figures.lag_ms.max(source.lag_ms(now.wall_ms));
            }
        }
        let (records, bytes) = (&mut self.paces.0, &mut self.paces.1);
        let received = &self.metrics.received_records;
        records.see(now.monotonic_ms, received.get(), link.lag_records);
        let received = &self.metrics.received_bytes;
        bytes.see(now.monotonic_ms, received.get(), link.lag_bytes);
        link.records_per_s = records.sent_per_s();
        link.bytes_per_s = bytes.sent_per_s();
        link.catches_up_in_s = records.catches_up_in_s();
        let topics = by_topic.into_iter();
        let mut topics: Vec<_> = topics
            .map(|(name, figures)| (name.to_owned(), figures))
            .collect();
        topics.sort_by_key(|(_, figures)| std::cmp::Reverse(figures.lag_records));
        Progress { link, topics }
    }

    /// Updates the metrics, and logs each reason to wait once.
    fn report(&mut self) {
        let progress = self.progress();
        self.metrics.set_progress(progress);
        let waiting = self.sources.iter().filter_map(|((topic, index), source)| {
            let why = source.why.clone()?;
            Some((format!("{topic}-{index} at {}", source.next), why))
        });
        let holds = Holds {
            partitions: waiting.take(limits::HELD_SHOWN_MAX).collect(),
            topics: self.refused.clone().into_iter().collect(),
            notes: self.notes.clone().into_iter().collect(),
        };
        let held = holds.partitions.len() + holds.topics.len();
        self.metrics.held.set(held as i64);
        let all = holds.partitions.iter().chain(&holds.topics);
        let all = all.chain(&holds.notes);
        let now: BTreeMap<String, String> = all.cloned().collect();
        let new = now
            .iter()
            .filter(|(what, why)| self.told.get(*what) != Some(why));
        for (what, why) in new.take(limits::HELD_LOGGED_MAX) {
            let link = &self.config.name;
            log::warn!(target: "sedge::mirror", "{link}: {what} waits: {why}");
        }
        self.told = now;
        self.metrics.set_holds(holds);
    }
}
