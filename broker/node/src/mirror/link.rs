//! The task of one link: performs the reads that the plan asks for, sends the batches, and reports
//! the outcomes to the plan.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use event_listener::EventListener;
use futures_lite::{FutureExt, future};
use sedge_core::backoff::Backoff;
use sedge_core::metadata::Image;
use sedge_core::mirror::{
    self as plan, CopiedConfigs, Limit, Outcome, Outgoing, Priority, Spent, Watchdog,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::ProduceResponseData;
use sedge_protocol::produce::Produce;

use crate::client::cluster::Target;
use crate::client::transactions::RefusedPartitions;
use crate::client::{Client, Error};
use crate::config::LinkConfig;
use crate::log::followers::Follower;
use crate::metrics::{Failure, LinkMetrics, LinkState};
use crate::plugins::LinkFilters;

use super::Local;
use super::cursors::Cursors;
use super::groups::Groups;
use super::lanes::{LaneId, Lanes, Sent};
use super::limits;
use super::marks::Marks;
use super::offset_log::Unwritten;
use super::paces::Paces;
use super::pause::Pause;
use super::session::Session;

/// The upstream partition that a local one is copied to.
pub(super) struct Destination {
    pub(super) topic: Arc<str>,
    /// The topic's name upstream.
    pub(super) there: Arc<str>,
    /// The partition's index here, and upstream if its records are not spread.
    pub(super) index: i32,
    /// Partitions of the topic upstream, if the records are spread over them.
    pub(super) spread: Option<u32>,
    pub(super) topic_id: KafkaUuid,
    /// The topic's id upstream, if the upstream has ids.
    pub(super) upstream_id: Option<String>,
    /// Whether the upstream topic has records of an earlier local topic.
    pub(super) is_created_again: bool,
    /// What was copied of the topic's configuration; of partition 0 only.
    pub(super) configs: Option<CopiedConfigs>,
}

impl Destination {
    /// Returns the index upstream of the partition that a batch goes to.
    pub(super) const fn index_of(&self, target: plan::Target) -> i32 {
        match target {
            plan::Target::Twin(_) => self.index,
            plan::Target::Of { index, .. } => index,
        }
    }
}

/// A topic that has no upstream twin yet.
pub(super) struct Waiting {
    pub(super) since: Instant,
    pub(super) why: String,
    /// Whether retries do not help before something is changed.
    pub(super) is_refused: bool,
    /// Whether it is meant to be so, and no trouble.
    pub(super) is_meant: bool,
}

/// A report from a task that waits for an answer.
pub(super) enum Answered {
    Produce {
        lane: LaneId,
        batches: Vec<Sent>,
        result: Result<ProduceResponseData, Error>,
    },
    /// The partitions that a step of the transaction was refused for.
    Step {
        round: u32,
        result: Result<RefusedPartitions, Error>,
    },
}

pub struct Link {
    pub(super) local: Local,
    pub(super) follower: Follower,
    pub(super) config: LinkConfig,
    pub(super) client: Client,
    /// For the class high: the same client if no topic has it, and one with connections of
    /// its own otherwise.
    pub(super) urgent: Client,
    pub(super) cursors: Cursors,
    pub(super) plan: plan::Link,
    backoff: Backoff,
    pub(super) metrics: Arc<LinkMetrics>,
    pub(super) filters: LinkFilters,
    /// The local topics, as last checked.
    pub(super) image: Option<Arc<Image>>,
    pub(super) destinations: HashMap<PartitionId, Destination>,
    /// Topics that were not begun, with the reason.
    pub(super) waiting: BTreeMap<String, Waiting>,
    /// Holds that were logged.
    pub(super) told: BTreeMap<String, String>,
    pub(super) lanes: Lanes,
    /// The transactional producer; `None` if the link sends at least once.
    pub(super) session: Option<Session>,
    /// Whether the mode is known.
    pub(super) is_decided: bool,
    pub(super) answers: (Sender<Answered>, Receiver<Answered>),
    stopping: Receiver<()>,
    /// Whether leaders must be asked for, or topics checked again.
    pub(super) is_stale: bool,
    pub(super) recheck_at: Option<Instant>,
    pub(super) commit_at: Instant,
    pub(super) measure_at: Instant,
    pub(super) paces: Paces,
    pub(super) marks: Marks,
    pub(super) offsets: Unwritten,
    pub(super) groups: Groups,
    /// Topics whose configuration upstream cannot be kept in step, with the reasons.
    pub(super) unkept: BTreeMap<String, String>,
    pub(super) watchdog: Watchdog,
    /// Errors of the upstream that were logged since it last answered.
    pub(super) told_errors: Vec<String>,
    /// What was spent of the budget, as last committed.
    pub(super) saved_spent: Spent,
    /// The limit of the budget that was logged last.
    pub(super) told_limit: Option<Limit>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub fn new(
        local: Local,
        config: LinkConfig,
        metrics: Arc<LinkMetrics>,
        stopping: Receiver<()>,
    ) -> Self {
        let executor = local.runtime.executor();
        let backoff = Backoff::new(
            config.client.retry_backoff.as_millis() as u64,
            config.client.retry_backoff_max.as_millis() as u64,
        );
        let plan = plan::Link::new(plan::Limits {
            window_bytes: config.window_bytes,
            read_bytes: limits::READ_BYTES.max(config.packing.batch_bytes),
            held_after_ms: config.held_after.as_millis() as u64,
            linger_ms: config.linger.as_millis() as u64,
            packing: config.packing,
            backoff,
        });
        let client = Client::new(executor, config.client.clone());
        let urgent = if config.spending.has_urgent() {
            client.with_own_connections()
        } else {
            client.clone()
        };
        Self {
            client,
            urgent,
            cursors: Cursors::new(local.clone(), &config.name),
            plan,
            backoff,
            metrics,
            filters: LinkFilters::new(
                &config.name,
                &config.filters,
                &config.filter_settings,
                config.on_filter_error,
            ),
            image: None,
            destinations: HashMap::new(),
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            lanes: Lanes::default(),
            session: None,
            is_decided: false,
            answers: async_channel::bounded(limits::EVENTS_MAX),
            stopping,
            is_stale: false,
            recheck_at: None,
            commit_at: Instant::now(),
            measure_at: Instant::now(),
            paces: Paces::default(),
            marks: Marks::default(),
            offsets: Unwritten::default(),
            groups: Groups::default(),
            unkept: BTreeMap::new(),
            watchdog: Watchdog::new(
                limits::STALLED_AFTER.as_millis() as u64,
                local.log.clock.now().monotonic_ms,
            ),
            told_errors: Vec::new(),
            saved_spent: Spent::default(),
            told_limit: None,
            follower: local.log.follower(),
            local,
            config,
        }
    }

    /// Runs until the link is stopped.
    pub async fn run(mut self) {
        let name = self.config.name.clone();
        if self.config.is_paused {
            self.rest().await;
            return;
        }
        self.metrics.set_state(LinkState::Connecting);
        self.use_budget();
        loop {
            let pause = match self.prepare().await {
                Ok(()) => {
                    if self.backoff.failures() > 0 {
                        log::info!(target: "sedge::mirror", "{name}: the upstream answers again");
                    }
                    self.backoff.succeed();
                    self.told_errors.clear();
                    self.metrics.retried();
                    self.metrics.set_state(self.running());
                    self.copy().await
                }
                Err(error) => Pause::Failed(error),
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
        self.commit().await;
        self.save_spent(true).await;
        self.write_offsets().await;
        self.end_transaction().await;
        log::info!(target: "sedge::mirror", "{name}: stopped");
    }

    /// Returns the state of the link while its upstream answers.
    fn running(&self) -> LinkState {
        if !self.destinations.is_empty() || !self.waiting.is_empty() {
            return LinkState::Running;
        }
        let why = "no topic here matches topics; `sedge topic list` lists the topics".to_owned();
        LinkState::Idle { why }
    }

    /// Copies nothing, and measures the lag.
    async fn rest(&mut self) {
        self.metrics.set_state(LinkState::Paused);
        loop {
            self.measure().await;
            if self.pause(limits::MEASURE_EVERY).await {
                return;
            }
        }
    }

    /// Waits. Returns true if the link must stop.
    async fn pause(&self, duration: Duration) -> bool {
        let stop = async {
            let _ = self.stopping.recv().await;
            true
        };
        let over = async {
            Timer::after(duration).await;
            false
        };
        stop.or(over).await
    }

    /// Backs off after a failure of the upstream. Returns true if the link must stop.
    async fn wait_after(&mut self, error: &Error) -> bool {
        let is_fenced = matches!(error, Error::Fenced { .. });
        let wait = Duration::from_millis(self.backoff.fail(fastrand::u64(..)));
        let wait = if is_fenced {
            limits::FENCED_RETRY
        } else {
            wait
        };
        let why = error.to_string();
        self.tell_error(&why);
        let at_ms = self.local.log.clock.now().wall_ms;
        self.metrics.failed(Failure {
            why: why.clone(),
            at_ms,
            next_try: Some(Instant::now() + wait),
        });
        self.metrics.set_state(if is_fenced {
            LinkState::Fenced { why }
        } else if error.is_retriable() {
            LinkState::BackingOff { why }
        } else {
            LinkState::Blocked { why }
        });
        let until = Instant::now() + wait;
        let network = self.local.network.listen();
        let is_back = async move {
            // Another link that was fenced must not fence this one in turn.
            if is_fenced {
                future::pending::<()>().await;
            }
            network.await;
        };
        futures_lite::pin!(is_back);
        // Records that are produced meanwhile show as lag.
        loop {
            self.commit().await;
            self.measure().await;
            let left = until.saturating_duration_since(Instant::now());
            let is_back = async {
                is_back.as_mut().await;
                None
            };
            let stops = async { Some(self.pause(left.min(limits::MEASURE_EVERY)).await) };
            match stops.or(is_back).await {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
            if left <= limits::MEASURE_EVERY {
                return false;
            }
        }
    }

    // Copying.

    /// Copies until an obstacle must be handled first.
    async fn copy(&mut self) -> Pause {
        loop {
            // Listens before it looks, so that no event is missed in between.
            let growth = self.follower.listen();
            let changed = self.local.log.image_changed();
            // Before the image: what is read has no origins that the topics were not marked with.
            self.look_at_bounds();
            let image = self.local.log.metadata.load();
            let is_other = self
                .image
                .as_ref()
                .is_none_or(|seen| !Arc::ptr_eq(seen, &image));
            if is_other || self.is_stale || is_over(self.recheck_at) {
                return Pause::Prepare;
            }
            if self.plan.needs_producer() {
                return Pause::Prepare;
            }
            self.look_at_clock();
            self.step();
            self.read().await;
            let more = match self.send().await {
                Ok(more) => more,
                Err(error) => return Pause::Failed(error),
            };
            if let Err(pause) = self.wait(growth, changed, more).await {
                return pause;
            }
            if Instant::now() >= self.commit_at {
                self.commit().await;
                self.keep_groups().await;
            }
            if Instant::now() >= self.measure_at {
                self.save_spent(false).await;
                self.measure().await;
                if let Err(error) = self.watch() {
                    return Pause::Failed(error);
                }
            }
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.local.log.clock.now().monotonic_ms
    }

    pub(super) fn look_at_bounds(&mut self) {
        let now_ms = self.now_ms();
        for id in self.destinations.keys() {
            if let Ok(partition) = self.local.log.partition(*id) {
                // Behind the last stable offset, what will be committed is not known yet.
                let (log_start, end) = (partition.log_start(), partition.last_stable_offset());
                self.plan.handle_bounds(*id, log_start, end, now_ms);
            }
        }
    }

    /// Reads what the plan asks for, and queues it for the leading brokers.
    async fn read(&mut self) {
        let mut bytes = 0;
        while let Some(read) = self.plan.poll_read(self.now_ms()) {
            let batches = self.batches(read).await;
            bytes += read.bytes_max;
            if bytes >= limits::READ_AT_ONCE_BYTES {
                bytes = 0;
                future::yield_now().await;
            }
            let now_ms = self.now_ms();
            let batches = match batches {
                Ok(batches) => batches,
                Err((trouble, why)) => {
                    log::error!(target: "sedge::mirror", "partition {}: {why}", read.partition);
                    self.plan
                        .handle_read_failure(&read, trouble, now_ms, fastrand::u64(..));
                    continue;
                }
            };
            for outgoing in self.plan.handle_read(&read, batches, now_ms) {
                self.queue(outgoing);
            }
        }
    }

    fn queue(&mut self, outgoing: Outgoing) {
        let to = &self.destinations[&outgoing.partition];
        let index = to.index_of(outgoing.target);
        if let Some(broker) = self.client.known_leader(&to.there, index) {
            let is_urgent = self.class_of(&to.topic).priority == Priority::High;
            self.lanes.push(LaneId { broker, is_urgent }, outgoing);
        } else {
            let sent = Sent::of(&outgoing);
            self.tell(sent, Outcome::Refused(ErrorCode::LeaderNotAvailable));
        }
    }

    /// Starts requests to brokers that have room. Returns true if batches wait for a place of which
    /// no event will tell.
    async fn send(&mut self) -> Result<bool, Error> {
        let mut more = false;
        let in_flight_max = self.config.client.in_flight_max;
        for lane in self.lanes.ready(in_flight_max) {
            let client = if lane.is_urgent {
                &self.urgent
            } else {
                &self.client
            };
            let connection = match client.connection(Target::Broker(lane.broker)).await {
                Ok(connection) => connection,
                Err(error) => {
                    for outgoing in self.lanes.drain(lane) {
                        self.tell(Sent::of(&outgoing), Outcome::Lost);
                    }
                    self.is_stale = true;
                    return Err(error);
                }
            };
            for _ in 0..in_flight_max {
                if !self.lanes.ready(in_flight_max).contains(&lane) {
                    break;
                }
                let Some(place) = connection.place() else {
                    more = true;
                    break;
                };
                let plan = &self.plan;
                let taken = self
                    .lanes
                    .take(lane, self.config.request_bytes, |outgoing| {
                        plan.is_current(outgoing.partition, outgoing.generation)
                    });
                if taken.is_empty() {
                    break;
                }
                let timeout_ms = self.config.client.request_timeout.as_millis() as i32;
                let transactional_id = self.session.as_ref().map(|it| &*it.transactional_id);
                let mut request = Produce::new(timeout_ms, transactional_id);
                let batches: Vec<Sent> = taken.iter().map(Sent::of).collect();
                for outgoing in taken {
                    let to = &self.destinations[&outgoing.partition];
                    request.add(&to.there, to.index_of(outgoing.target), outgoing.batch);
                }
                match connection.start(&request, place) {
                    Ok(in_flight) => {
                        self.lanes.started(lane);
                        let answers = self.answers.0.clone();
                        let waiting = async move {
                            let result = in_flight.wait().await;
                            let answered = Answered::Produce {
                                lane,
                                batches,
                                result,
                            };
                            let _ = answers.send(answered).await;
                        };
                        self.local.runtime.spawn(waiting).detach();
                    }
                    Err(error) => {
                        for sent in batches {
                            self.tell(sent, Outcome::Lost);
                        }
                        return Err(error);
                    }
                }
            }
        }
        Ok(more)
    }

    /// Waits for the first event: an answer, local growth, a deadline, the end.
    async fn wait(
        &mut self,
        growth: EventListener,
        changed: EventListener,
        more: bool,
    ) -> Result<(), Pause> {
        let now_ms = self.now_ms();
        let mut until = self.commit_at.min(self.measure_at);
        if let Some(at_ms) = self.plan.next_deadline_ms() {
            let wait = Duration::from_millis(at_ms.saturating_sub(now_ms));
            until = until.min(Instant::now() + wait);
        }
        if let Some(at) = self.recheck_at {
            until = until.min(at);
        }
        if more {
            until = until.min(Instant::now() + Duration::from_millis(10));
        }
        let answers = self.answers.1.clone();
        let answer = async { answers.recv().await.ok() };
        let grown = async {
            growth.or(changed).await;
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
        let event = async { Ok(answer.or(grown).or(deadline).await) };
        let mut answered = stop.or(event).await?;
        let mut failure = None;
        while let Some(answer) = answered {
            if let Err(error) = self.handle(answer) {
                failure = Some(error);
            }
            answered = answers.try_recv().ok();
        }
        failure.map_or(Ok(()), |error| Err(Pause::Failed(error)))
    }
}

impl Sent {
    fn of(outgoing: &Outgoing) -> Self {
        Self {
            partition: outgoing.partition,
            generation: outgoing.generation,
            base: outgoing.base,
            target: outgoing.target,
        }
    }
}

fn is_over(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at <= Instant::now())
}
