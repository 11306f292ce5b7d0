//! A cluster as the client sees it: its metadata, a connection to each broker in use, and the rules
//! for choosing a broker and for retrying.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_executor::Executor;
use async_io::Timer;
use sedge_core::backoff::Backoff;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::{
    ApiKey, FindCoordinatorRequestData, MetadataRequestData, MetadataRequestTopic,
    MetadataResponseData,
};
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use super::config::ClientConfig;
use super::connection::Connection;
use super::error::Error;
use super::limits::METADATA_MAX_AGE;
use super::request::Request;

/// The address on which a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One partition's entry in the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub leader: Option<i32>,
    pub leader_epoch: i32,
}

/// One topic's entry in the metadata; `error` is `None` (the code) if the topic exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    pub error: ErrorCode,
    /// The topic's id; zero from brokers before 2.8.
    pub id: KafkaUuid,
    pub internal: bool,
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// The cluster's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub cluster_id: Option<String>,
    pub controller: Option<i32>,
    pub brokers: BTreeMap<i32, Endpoint>,
    pub topics: BTreeMap<String, TopicMetadata>,
}

impl Metadata {
    fn from_response(response: MetadataResponseData) -> Self {
        let brokers = response.brokers.into_iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((
                broker.node_id,
                Endpoint {
                    host: broker.host.as_str().to_owned(),
                    port,
                },
            ))
        });
        let topics = response.topics.into_iter().filter_map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                let entry = PartitionMetadata {
                    leader: Some(partition.leader_id).filter(|id| *id >= 0),
                    leader_epoch: partition.leader_epoch,
                };
                (partition.partition_index, entry)
            });
            let entry = TopicMetadata {
                error: ErrorCode::from(topic.error_code),
                id: topic.topic_id,
                internal: topic.is_internal,
                partitions: partitions.collect(),
            };
            Some((topic.name?.as_str().to_owned(), entry))
        });
        Self {
            cluster_id: response.cluster_id.map(|id| id.as_str().to_owned()),
            controller: Some(response.controller_id).filter(|id| *id >= 0),
            brokers: brokers.collect(),
            topics: topics.collect(),
        }
    }
}

/// The broker that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Any broker.
    Any,
    Controller,
    Broker(i32),
    /// The coordinator of a group.
    Coordinator(&'a str),
}

/// One broker's connection: at most one is opened at a time, and all callers share it.
type Slot = Arc<smol::lock::Mutex<Option<Arc<Connection>>>>;

struct Inner {
    executor: Arc<Executor<'static>>,
    config: ClientConfig,
    slots: Mutex<BTreeMap<i32, Slot>>,
    bootstrap: Slot,
    known: Arc<Mutex<Known>>,
}

/// The kind of a coordinator, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coordinator {
    Group = 0,
    Transaction = 1,
}

/// The last received metadata, of the topics that callers asked about.
#[derive(Default)]
struct Known {
    metadata: Metadata,
    heard: BTreeMap<String, Instant>,
    /// The coordinators of [`Client::coordinator`].
    coordinators: BTreeMap<(Coordinator, String), i32>,
}

/// A handle to a cluster. Clones share the same client.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("servers", &self.config().bootstrap_servers)
            .finish()
    }
}

impl Client {
    /// Creates a client. Does not connect yet.
    #[must_use]
    pub fn new(executor: Arc<Executor<'static>>, config: ClientConfig) -> Self {
        Self::with(executor, config, Arc::default())
    }

    fn with(
        executor: Arc<Executor<'static>>,
        config: ClientConfig,
        known: Arc<Mutex<Known>>,
    ) -> Self {
        let inner = Inner {
            executor,
            config,
            slots: Mutex::default(),
            bootstrap: Slot::default(),
            known,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Returns a client with connections of its own. Both share what they know of the cluster.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        let executor = Arc::clone(&self.inner.executor);
        let known = Arc::clone(&self.inner.known);
        Self::with(executor, self.config().clone(), known)
    }

    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Sends `request` to `target` and waits for its answer. Connection failures are retried until
    /// the call's time is over. Error codes inside the answer are left to the caller.
    pub async fn call<R: Request>(
        &self,
        target: Target<'_>,
        request: &R,
    ) -> Result<R::Response, Error> {
        self.retry(|| async move { self.connection(target).await?.call(request).await })
            .await
    }

    /// Runs `attempt` until it succeeds, fails finally, or the call's time is over.
    pub async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let config = self.config();
        let deadline = Instant::now() + config.api_timeout;
        let mut backoff = Backoff::new(
            config.retry_backoff.as_millis() as u64,
            config.retry_backoff_max.as_millis() as u64,
        );
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = Duration::from_millis(backoff.fail(fastrand::u64(..)));
            if !error.is_retriable() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            log::debug!("retrying in {} ms: {error}", wait.as_millis());
            Timer::after(wait).await;
        }
    }

    /// Closes all connections; the next requests open others.
    pub fn disconnect(&self) {
        let slots = lock(&self.inner.slots)
            .values()
            .cloned()
            .collect::<Vec<_>>();
        for slot in slots.iter().chain([&self.inner.bootstrap]) {
            if let Some(mut slot) = slot.try_lock() {
                *slot = None;
            }
        }
    }

    /// Returns an open connection to `target`.
    pub async fn connection(&self, target: Target<'_>) -> Result<Arc<Connection>, Error> {
        match target {
            Target::Any => self.any_connection().await,
            Target::Broker(id) => self.broker_connection(id).await,
            Target::Controller => {
                self.refresh(&[]).await?;
                let id = self.with_known(|known| known.metadata.controller);
                self.broker_connection(id.ok_or(Error::NoBroker("controller"))?)
                    .await
            }
            Target::Coordinator(group) => {
                let id = self.find_coordinator(Coordinator::Group, group).await?;
                self.broker_connection(id).await
            }
        }
    }

    /// Requests metadata of `topics` now (of the brokers only, if empty). Does not create topics.
    pub async fn refresh(&self, topics: &[&str]) -> Result<(), Error> {
        let named = |name: &&str| {
            MetadataRequestTopic::default().with_name(Some(KafkaString::from((*name).to_owned())))
        };
        self.fetch_metadata(Some(topics.iter().map(named).collect()))
            .await
            .map(drop)
    }

    /// Requests the metadata of every topic.
    pub async fn describe_all(&self) -> Result<Metadata, Error> {
        self.retry(|| self.fetch_metadata(None)).await
    }

    /// Requests the metadata of these topics. Each has its own `error`.
    pub async fn describe(&self, topics: &[&str]) -> Result<Metadata, Error> {
        self.retry(|| async {
            self.refresh(topics).await?;
            Ok(self.with_known(|known| {
                let mut metadata = known.metadata.clone();
                metadata
                    .topics
                    .retain(|name, _| topics.contains(&name.as_str()));
                metadata
            }))
        })
        .await
    }

    /// Returns the leader of a partition, from the cached metadata if it is recent enough.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        if let Some(leader) = self.known_leader(topic, partition) {
            return Ok(leader);
        }
        self.refresh(&[topic]).await?;
        let error =
            self.with_known(|known| {
                known.metadata.topics.get(topic).map_or(
                    ErrorCode::UnknownTopicOrPartition,
                    |entry| match entry.error {
                        ErrorCode::None if entry.partitions.contains_key(&partition) => {
                            ErrorCode::LeaderNotAvailable
                        }
                        ErrorCode::None => ErrorCode::UnknownTopicOrPartition,
                        error => error,
                    },
                )
            });
        self.known_leader(topic, partition).ok_or(Error::Broker {
            api: ApiKey::Metadata,
            code: error,
            message: None,
        })
    }

    /// Returns the leader by the cached metadata, without a request.
    #[must_use]
    pub fn known_leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.with_known(|known| {
            let heard = known.heard.get(topic)?;
            if heard.elapsed() > METADATA_MAX_AGE {
                return None;
            }
            known
                .metadata
                .topics
                .get(topic)?
                .partitions
                .get(&partition)?
                .leader
        })
    }

    /// Returns the cluster's id by the cached metadata, without a request.
    #[must_use]
    pub fn known_cluster_id(&self) -> Option<String> {
        self.with_known(|known| known.metadata.cluster_id.clone())
    }

    /// Returns a topic by the cached metadata, without a request.
    #[must_use]
    pub fn known_topic(&self, topic: &str) -> Option<TopicMetadata> {
        self.with_known(|known| known.metadata.topics.get(topic).cloned())
    }

    /// Forgets the cached metadata of a topic, because it was wrong.
    pub fn forget(&self, topic: &str) {
        self.with_known(|known| known.heard.remove(topic));
    }

    /// Returns the number of brokers with an open connection.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let slots: Vec<Slot> = lock(&self.inner.slots).values().cloned().collect();
        let open = |slot: &Slot| {
            slot.try_lock()
                .is_some_and(|slot| slot.as_ref().is_some_and(|c| !c.is_closed()))
        };
        slots.iter().filter(|slot| open(slot)).count()
    }

    async fn fetch_metadata(
        &self,
        topics: Option<Vec<MetadataRequestTopic>>,
    ) -> Result<Metadata, Error> {
        let all = topics.is_none();
        let asked: BTreeSet<String> = topics
            .iter()
            .flatten()
            .filter_map(|topic| topic.name.as_ref().map(|name| name.as_str().to_owned()))
            .collect();
        let request = MetadataRequestData::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(false);
        let connection = self.any_connection().await?;
        let response = connection.call(&request).await?;
        Error::check(ApiKey::Metadata, response.error_code, None)?;
        let metadata = Metadata::from_response(response);
        self.with_known(|known| known.learn(&metadata, &asked, all));
        Ok(metadata)
    }

    /// Returns an open connection to a coordinator, which is looked up once, until
    /// [`Client::forget_coordinator`].
    pub async fn coordinator(
        &self,
        kind: Coordinator,
        key: &str,
    ) -> Result<Arc<Connection>, Error> {
        let known = self.with_known(|known| {
            let known = known.coordinators.get(&(kind, key.to_owned()));
            known.copied()
        });
        let id = match known {
            Some(id) => id,
            None => self.find_coordinator(kind, key).await?,
        };
        let connection = self.broker_connection(id).await?;
        self.with_known(|known| known.coordinators.insert((kind, key.to_owned()), id));
        Ok(connection)
    }

    /// Forgets a coordinator that does not answer, or is another broker now.
    pub fn forget_coordinator(&self, kind: Coordinator, key: &str) {
        self.with_known(|known| known.coordinators.remove(&(kind, key.to_owned())));
    }

    async fn find_coordinator(&self, kind: Coordinator, key: &str) -> Result<i32, Error> {
        let request = FindCoordinatorRequestData::default()
            .with_key(key.to_owned().into())
            .with_key_type(kind as i8);
        let response = self.any_connection().await?.call(&request).await?;
        let message = response.error_message.as_ref().map(KafkaString::as_str);
        Error::check(ApiKey::FindCoordinator, response.error_code, message)?;
        let id = response.node_id;
        if self.with_known(|known| !known.metadata.brokers.contains_key(&id)) {
            self.refresh(&[]).await?;
        }
        Ok(id)
    }

    /// Returns an existing connection, or opens one to a known broker or to a bootstrap server.
    async fn any_connection(&self) -> Result<Arc<Connection>, Error> {
        let slots: Vec<Slot> = lock(&self.inner.slots).values().cloned().collect();
        for slot in slots {
            if let Some(connection) = slot.try_lock().and_then(|slot| slot.clone())
                && !connection.is_closed()
            {
                // The connection to the bootstrap server is no longer needed.
                if let Some(mut bootstrap) = self.inner.bootstrap.try_lock() {
                    *bootstrap = None;
                }
                return Ok(connection);
            }
        }
        let mut addresses = self.config().bootstrap_servers.clone();
        fastrand::shuffle(&mut addresses);
        // If all bootstrap servers have moved, the brokers that were last known may still answer.
        let mut brokers: Vec<String> = self.with_known(|known| {
            known
                .metadata
                .brokers
                .values()
                .map(Endpoint::to_string)
                .collect()
        });
        brokers.retain(|address| !addresses.contains(address));
        addresses.append(&mut brokers);
        self.open_first(&self.inner.bootstrap, &addresses).await
    }

    async fn broker_connection(&self, id: i32) -> Result<Arc<Connection>, Error> {
        let known = |client: &Self| client.with_known(|k| k.metadata.brokers.get(&id).cloned());
        if known(self).is_none() {
            self.refresh(&[]).await?;
        }
        let endpoint = known(self).ok_or(Error::NoBroker("such broker"))?;
        let slot = Arc::clone(lock(&self.inner.slots).entry(id).or_default());
        match self.open_first(&slot, &[endpoint.to_string()]).await {
            Ok(connection) => Ok(connection),
            Err(error) => {
                // The broker may have moved: the next attempt asks for its address again.
                self.with_known(|known| known.metadata.brokers.remove(&id));
                Err(error)
            }
        }
    }

    async fn open_first(
        &self,
        slot: &Slot,
        addresses: &[String],
    ) -> Result<Arc<Connection>, Error> {
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        if let Some(connection) = slot.take() {
            connection.finish().await;
        }
        let mut last = Error::NoBroker("bootstrap server");
        for address in addresses {
            match Connection::open(&self.inner.executor, self.config(), address).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    *slot = Some(Arc::clone(&connection));
                    return Ok(connection);
                }
                Err(error) => {
                    log::debug!("{address}: {error}");
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn with_known<T>(&self, read: impl FnOnce(&mut Known) -> T) -> T {
        read(&mut lock(&self.inner.known))
    }
}

impl Known {
    /// Updates the cached metadata. Requested topics that are missing in the answer are removed.
    fn learn(&mut self, heard: &Metadata, asked: &BTreeSet<String>, all: bool) {
        let now = Instant::now();
        self.metadata.cluster_id.clone_from(&heard.cluster_id);
        self.metadata.controller = heard.controller;
        self.metadata.brokers.clone_from(&heard.brokers);
        if all {
            // Only topics that callers use are kept: a large cluster's list is not worth the
            // memory.
            let kept = |name: &String| heard.topics.contains_key(name);
            self.metadata.topics.retain(|name, _| kept(name));
            self.heard.retain(|name, _| kept(name));
        }
        for name in asked {
            self.heard.insert(name.clone(), now);
            match heard.topics.get(name) {
                Some(topic) => self.metadata.topics.insert(name.clone(), topic.clone()),
                None => self.metadata.topics.remove(name),
            };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
