//! The conversation with one device: what arrives becomes appends and subscriptions, and their
//! outcomes become frames.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::future;
use log::{debug, info, warn};
use sedge_core::security::{Operation, Principal, Resource, Verdict};
use sedge_link::limits::{CHALLENGE_BYTES, PROOF_BYTES, TOPICS_MAX};
use sedge_link::message::{Reason, Usage};
use sedge_link::{Delivery, Port, PortEvent, Welcomed};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::ApiKey;

use super::Gateway;
use super::appends::{Failed, Pending, Target, Written};
use super::deliveries::Deliveries;
use super::devices::Unavailable;
use super::limits::{
    FETCH_AGAIN, FETCH_BYTES, FETCH_WAIT, GREETING_MAX, POSITIONS_EVERY, READ_BYTES, REFUSED_PAUSE,
    SILENCE_MAX, WINDOW,
};
use super::login::{Hello, is_identity, is_proven};
use super::open::Open;
use super::wire::Wire;
use crate::broker::audit::Denial;
use crate::config::GatewayConfig;
use crate::handlers::device::{Device, Fetched};
use crate::net::service::Session;

/// Why a conversation ended.
#[derive(Debug)]
pub enum Ended {
    /// The wire failed.
    Wire(io::Error),
    /// The other end hung up.
    HungUp,
    /// No device greeted, or nothing came for long.
    Silent,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(f),
            Self::HungUp => f.write_str("the other end hung up"),
            Self::Silent => f.write_str("the device was silent"),
        }
    }
}

/// The conversation with one device.
pub struct Conversation<'a> {
    gateway: &'a Arc<Gateway>,
    wire: Wire,
    remote: SocketAddr,
    port: Port,
    began: Instant,
    heard: Instant,
    /// Since when there is no session.
    greeting_since: Instant,
    /// The greeting that has to be proven, and the nonce.
    challenge: Option<(Hello, [u8; CHALLENGE_BYTES])>,
    open: Option<Open>,
    noise: u64,
}

/// What a conversation waits for.
enum Occurred {
    Read(io::Result<usize>),
    Written(Written),
    Fetched(Vec<Fetched>),
    Replaced,
    Due,
}

impl<'a> Conversation<'a> {
    pub fn new(gateway: &'a Arc<Gateway>, wire: Wire, remote: SocketAddr) -> Self {
        let now = Instant::now();
        Self {
            gateway,
            wire,
            remote,
            port: Port::default(),
            began: now,
            heard: now,
            greeting_since: now,
            challenge: None,
            open: None,
            noise: 0,
        }
    }

    /// Serves the device until the wire ends.
    pub async fn run(mut self) -> Ended {
        let mut room = vec![0; READ_BYTES];
        loop {
            self.work();
            if let Err(error) = self.write_frames().await {
                return Ended::Wire(error);
            }
            match self.wait(&mut room).await {
                Occurred::Read(Ok(0)) => return Ended::HungUp,
                Occurred::Read(Err(error)) => return Ended::Wire(error),
                Occurred::Read(Ok(length)) => {
                    self.heard = Instant::now();
                    for byte in &room[..length] {
                        self.handle(*byte).await;
                    }
                    self.count_noise();
                }
                Occurred::Written(written) => self.handle_written(&written),
                Occurred::Fetched(fetched) => self.handle_fetched(fetched),
                Occurred::Replaced => self.handle_replaced(),
                Occurred::Due if self.is_silent() => return Ended::Silent,
                Occurred::Due => {}
            }
        }
    }

    /// A serial line stays open: its device may be switched on later.
    fn is_silent(&self) -> bool {
        matches!(self.wire, Wire::Tcp(_)) && Instant::now() >= self.silent_at()
    }

    fn silent_at(&self) -> Instant {
        match self.open {
            Some(_) => self.heard + SILENCE_MAX,
            None => self.greeting_since + GREETING_MAX,
        }
    }

    fn now_ms(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }

    fn unix_ms(&self) -> i64 {
        self.gateway.broker.log.clock.now().wall_ms
    }

    fn count_noise(&mut self) {
        let noise = self.port.noise();
        let metrics = &self.gateway.broker.metrics.gateways;
        metrics.noise.add(noise.saturating_sub(self.noise));
        self.noise = noise;
    }

    async fn write_frames(&mut self) -> io::Result<()> {
        let now_ms = self.now_ms();
        while let Some(frame) = self.port.poll_transmit(now_ms) {
            self.wire.write_all(frame).await?;
        }
        Ok(())
    }

    /// Returns when there is something to do, if nothing occurs before.
    fn due(&self) -> Instant {
        let mut due = match self.wire {
            Wire::Tcp(_) => self.silent_at(),
            Wire::Serial(_) => Instant::now() + SILENCE_MAX,
        };
        if let Some(of_port) = self.port.due_ms() {
            let wait_ms = of_port.wrapping_sub(self.now_ms()) as i32;
            let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
            due = due.min(Instant::now() + wait);
        }
        let open = self.open.iter();
        let own = open.flat_map(|of| [of.paused_until, of.fetched_again, of.positions_due]);
        own.flatten().fold(due, Instant::min)
    }

    async fn wait(&mut self, room: &mut [u8]) -> Occurred {
        let due = self.due();
        let Self { wire, open, .. } = self;
        let read = async { Occurred::Read(wire.read(room).await) };
        let timer = async {
            Timer::at(due).await;
            Occurred::Due
        };
        let Some(Open {
            writes,
            fetching,
            owned,
            ..
        }) = open
        else {
            return future::or(read, timer).await;
        };
        let written = async {
            match writes.1.recv().await {
                Ok(written) => Occurred::Written(written),
                Err(_) => pending().await,
            }
        };
        let fetched = async {
            match fetching {
                Some(fetching) => {
                    let fetched = fetching.await;
                    Occurred::Fetched(fetched)
                }
                None => pending().await,
            }
        };
        let replaced = async {
            let _ = owned.replaced.recv().await;
            Occurred::Replaced
        };
        let inside = future::or(written, future::or(replaced, fetched));
        future::or(inside, future::or(read, timer)).await
    }

    /// Starts what can be started.
    fn work(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        let now = Instant::now();
        let is_over = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if is_over(&mut open.paused_until) {
            self.port.set_window(WINDOW);
        }
        is_over(&mut open.fetched_again);
        let are_positions_due = is_over(&mut open.positions_due);
        let has_work = !open.pending.is_empty() || are_positions_due;
        if has_work && !open.is_writing && open.paused_until.is_none() {
            open.start_write(self.gateway);
        } else if are_positions_due {
            open.positions_due = Some(now + POSITIONS_EVERY);
        }
        while self.port.takes_delivery() {
            let Some(record) = open.deliveries.waiting.pop_front() else {
                break;
            };
            let delivery = Delivery {
                alias: record.alias,
                partition: record.partition as u32,
                offset: record.offset as u64,
                unix_ms: u64::try_from(record.timestamp_ms).unwrap_or(0),
                value: &record.value,
            };
            if self.port.deliver(&delivery) {
                open.delivering = Some(record);
            } else {
                self.gateway.broker.metrics.gateways.skipped.add(1);
            }
        }
        if open.fetching.is_none()
            && open.fetched_again.is_none()
            && let Some(wanted) = open.deliveries.wanted()
        {
            let client = open.client.clone();
            open.fetching = Some(Box::pin(async move {
                client.fetch(&wanted, FETCH_BYTES, FETCH_WAIT).await
            }));
        }
    }

    async fn handle(&mut self, byte: u8) {
        let now_ms = self.now_ms();
        let Some(event) = self.port.handle_byte(byte, now_ms) else {
            return;
        };
        match event {
            PortEvent::Greeting(greeting) => {
                let hello = Hello {
                    identity: greeting.identity.to_owned(),
                    instance: greeting.instance,
                    attempt: greeting.attempt,
                    first: greeting.first,
                };
                self.greeted(hello).await;
            }
            PortEvent::Proof(mac) => self.proven(&mac).await,
            PortEvent::Topic(topic) => {
                let (alias, usage, name) = (topic.alias, topic.usage, topic.name.to_owned());
                self.announced(alias, usage, &name).await;
            }
            PortEvent::Publication(publication) => {
                let now_ms = self.gateway.broker.log.clock.now().wall_ms;
                let Some(open) = &mut self.open else {
                    return;
                };
                let target = open.targets.get(&publication.alias);
                let target = target.cloned().unwrap_or(Err(Reason::Topic));
                open.pending
                    .extend(publication.readings.map(|reading| Pending {
                        sequence: reading.sequence,
                        target: target.clone(),
                        timestamp_ms: now_ms.saturating_sub(i64::from(reading.age_ms)),
                        value: reading.value.to_vec(),
                    }));
            }
            PortEvent::Received => {
                if let Some(open) = &mut self.open {
                    open.received();
                    self.gateway.broker.metrics.gateways.delivered.add(1);
                }
            }
            PortEvent::Time { sent_ms } => {
                let unix_ms = u64::try_from(self.unix_ms()).unwrap_or(0);
                self.port.tell_time(sent_ms, unix_ms);
            }
        }
    }

    async fn greeted(&mut self, hello: Hello) {
        self.challenge = None;
        if self.open.take().is_some() {
            self.greeting_since = Instant::now();
        }
        let config = &self.gateway.config;
        let is_known = is_identity(&hello.identity)
            && (config.secrets.is_empty() || config.secrets.contains_key(&hello.identity));
        if !is_known {
            return self.refuse(&hello.identity, "its identity is not one of the gateway's");
        }
        if config.secrets.is_empty() {
            return self.admit(hello).await;
        }
        let mut nonce = [0; CHALLENGE_BYTES];
        let random = ring::rand::SystemRandom::new();
        if ring::rand::SecureRandom::fill(&random, &mut nonce).is_ok() {
            self.port.challenge(nonce);
            self.challenge = Some((hello, nonce));
        }
    }

    async fn proven(&mut self, mac: &[u8; PROOF_BYTES]) {
        // A nonce is for one proof.
        let Some((hello, nonce)) = self.challenge.take() else {
            return;
        };
        let secret = self.gateway.config.secrets.get(&hello.identity);
        if secret.is_some_and(|secret| is_proven(secret, &hello, &nonce, mac)) {
            self.admit(hello).await;
        } else {
            self.refuse(&hello.identity, "it does not prove that it has the secret");
        }
    }

    fn refuse(&mut self, identity: &str, why: &str) {
        self.open = None;
        self.port.refuse(Reason::Identity);
        self.gateway.broker.metrics.gateways.refused_devices.add(1);
        if let Some(shown) = self.gateway.told.first(identity) {
            let (name, remote) = (&self.gateway.config.name, self.remote);
            warn!(target: "sedge::gateway", "gateway {name} refuses device {shown} at {remote}: {why}");
        }
    }

    /// Begins a session.
    async fn admit(&mut self, hello: Hello) {
        let gateway = self.gateway;
        let name = &gateway.config.name;
        let owned = gateway.devices.own(&gateway.broker, &hello.identity).await;
        let (owned, has_replaced) = match owned {
            Ok(owned) => owned,
            Err(Unavailable::TooMany) => return self.port.refuse(Reason::Limit),
            Err(Unavailable::Log(why)) => {
                // The device greets again.
                warn!(target: "sedge::gateway", "gateway {name} cannot serve devices now: {why}");
                return;
            }
        };
        // A session before this one may still be writing.
        let Some(state) = owned.state().await else {
            return;
        };
        let instance = match hello.instance {
            0 => random(),
            instance => instance,
        };
        let next = match state.next(instance) {
            // Behind what the device saw acknowledged: the log was restored from a backup.
            Some(next) if hello.first.wrapping_sub(next) > 1 << 31 => next,
            _ => hello.first,
        };
        drop(state);
        self.port.welcome(Welcomed {
            session: random(),
            instance,
            next,
            window: WINDOW,
            unix_ms: u64::try_from(self.unix_ms()).unwrap_or(0),
        });
        if has_replaced {
            gateway.broker.metrics.gateways.replaced.add(1);
            info!(
                target: "sedge::gateway",
                "gateway {name}: device {} greets from {} and replaces a session of the same \
                 identity",
                hello.identity, self.remote
            );
        } else {
            debug!(
                target: "sedge::gateway",
                "gateway {name}: device {} greets from {}",
                hello.identity, self.remote
            );
        }
        let session = Session::new(
            self.remote,
            self.remote,
            Arc::clone(&gateway.listener),
            Arc::default(),
        );
        let principal = Principal::user(&hello.identity);
        session.identify(principal.clone());
        self.open = Some(Open {
            client: Device::new(&gateway.broker, &Arc::new(session)),
            identity: hello.identity.into(),
            instance,
            owned,
            principal,
            targets: BTreeMap::new(),
            pending: Vec::new(),
            writes: async_channel::bounded(1),
            is_writing: false,
            paused_until: None,
            deliveries: Deliveries::default(),
            fetching: None,
            fetched_again: None,
            delivering: None,
            received: Vec::new(),
            positions_due: None,
        });
    }

    /// A device announces a topic.
    async fn announced(&mut self, alias: u8, usage: Usage, name: &str) {
        let gateway = self.gateway;
        let Some(open) = &mut self.open else {
            return;
        };
        if usize::from(alias) >= TOPICS_MAX {
            return self.port.topic(alias, Some(Reason::Limit));
        }
        let config = &gateway.config;
        let topic = GatewayConfig::filled(&config.topic, &open.identity, name);
        let is_publish = usage == Usage::Publish;
        let (selection, operation, api) = if is_publish {
            (&config.publish, Operation::Write, ApiKey::Produce)
        } else {
            (&config.subscribe, Operation::Read, ApiKey::Fetch)
        };
        let taken = if !selection.takes(&topic) {
            let denial = Denial {
                principal: &open.principal,
                host: self.remote.ip(),
                operation,
                resource: Resource::Topic,
                name: &topic,
                api,
                verdict: Verdict::NotAllowed,
            };
            gateway.broker.metrics.authorization_denied.add(1);
            let now_ms = gateway.broker.log.clock.now().monotonic_ms;
            gateway.broker.audit.denied(&denial, now_ms);
            Err(ErrorCode::TopicAuthorizationFailed)
        } else if is_publish {
            let key = GatewayConfig::filled(&config.key, &open.identity, name).into_bytes();
            let checked = open.client.check_publish(&topic).await;
            checked.map(|()| {
                let target = Arc::new(Target { topic, key });
                open.targets.insert(alias, Ok(target));
            })
        } else {
            open.subscribe(alias, usage, &topic.into()).await
        };
        let refused = match taken {
            Ok(()) => None,
            Err(ErrorCode::TopicAuthorizationFailed) => Some(Reason::Denied),
            Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException) => {
                Some(Reason::Topic)
            }
            Err(error) => {
                // The device announces it again.
                debug!(target: "sedge::gateway", "topic {name} of {} fails: {error:?}", open.identity);
                return;
            }
        };
        if let Some(reason) = refused
            && is_publish
        {
            open.targets.insert(alias, Err(reason));
        }
        self.port.topic(alias, refused);
    }

    fn handle_written(&mut self, written: &Written) {
        let Some(open) = &mut self.open else {
            return;
        };
        open.is_writing = false;
        let metrics = &self.gateway.broker.metrics.gateways;
        metrics.readings.add(written.count);
        for (first, count, reason) in &written.refused {
            metrics.refused_readings.add(u64::from(*count));
            self.port.refused(*first, *count, *reason);
        }
        if let Some(next) = written.next {
            self.port.committed(next);
        }
        match &written.failed {
            None => {}
            Some(Failed::Replaced) => self.handle_replaced(),
            Some(Failed::Unavailable(why)) => {
                let (name, device) = (&self.gateway.config.name, &open.identity);
                debug!(
                    target: "sedge::gateway",
                    "gateway {name}: readings of {device} wait: {why}"
                );
                metrics.postponed.add(1);
                open.pending.clear();
                open.paused_until = Some(Instant::now() + REFUSED_PAUSE);
                self.port.rewind();
                self.port.set_window(0);
            }
        }
    }

    fn handle_fetched(&mut self, fetched: Vec<Fetched>) {
        let Some(open) = &mut self.open else {
            return;
        };
        open.fetching = None;
        if !open.deliveries.take(fetched, &open.client) {
            open.fetched_again = Some(Instant::now() + FETCH_AGAIN);
        }
    }

    fn handle_replaced(&mut self) {
        self.port.bye(Reason::Replaced);
        self.open = None;
    }
}

/// Returns a random number that is not zero.
fn random() -> u32 {
    fastrand::u32(1..)
}
