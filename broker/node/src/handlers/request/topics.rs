//! Topics, their partitions and their records.

use std::ops::Deref;
use std::sync::Arc;

use sedge_core::config::BrokerDefaults;
use sedge_core::fetch::session::Wanted;
use sedge_core::log::{AppendError, SequenceRange};
use sedge_core::metadata::{self, Image, PLUGINS_TOPIC};
use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};
use sedge_protocol::kafka::KafkaUuid;
use sedge_storage::LogStore;

use super::Request;
use super::access::Access;
use crate::broker::Broker;
use crate::fetching::Source;
use crate::fetching::plan::{Found, targets};
use crate::fetching::sift::sift;
use crate::fetching::wait::{Fetched, Wish, fetch};
use crate::log::partitions::Partition;
use crate::plugins::{Entering, Filtered, Held, Origin, Routed, Verdict};
use crate::writer::{AppendPart, AppendReply, Awaited, Stopped};

impl Request {
    /// Returns the current topics, for one operation.
    pub fn topics(&self, operation: Operation) -> Topics {
        Topics::new(&self.access, Some(operation))
    }
}

/// The topics at the time when the request asked for them.
#[derive(Clone)]
pub struct Topics {
    access: Access,
    image: Arc<Image>,
    /// The operation on the topics. `None` if the request may perform it on the whole cluster.
    operation: Option<Operation>,
}

impl Topics {
    pub(super) fn new(access: &Access, operation: Option<Operation>) -> Self {
        Self {
            access: access.clone(),
            image: access.broker.log.metadata.load(),
            operation,
        }
    }

    /// Returns the topic of this name.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, and UNKNOWN_TOPIC_OR_PARTITION if there is none.
    pub fn named(&self, name: &str) -> Result<Topic<'_>, ErrorCode> {
        self.check(name)?;
        let topic = self.image.topic(name);
        let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(Topic { of: self, topic })
    }

    /// Returns the topic of this id.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, and UNKNOWN_TOPIC_ID if there is none.
    pub fn by_id(&self, id: KafkaUuid) -> Result<Topic<'_>, ErrorCode> {
        let topic = self.image.topic_by_id(id);
        let topic = topic.ok_or(ErrorCode::UnknownTopicId)?;
        self.check(&topic.name)?;
        Ok(Topic { of: self, topic })
    }

    /// Returns the name of an existing topic, for the quota policy: whether the client may use the
    /// topic is checked elsewhere.
    pub fn existing(&self, name: &str) -> Option<&str> {
        self.image.topic(name).map(|topic| topic.name.as_str())
    }

    /// See [`Topics::existing`].
    pub fn existing_by_id(&self, id: KafkaUuid) -> Option<&str> {
        self.image.topic_by_id(id).map(|topic| topic.name.as_str())
    }

    /// Returns whether the client may know of the topic.
    pub fn shows(&self, name: &str) -> bool {
        self.allows(name)
    }

    /// Returns all topics on which the client may perform the operation.
    pub fn all(&self) -> impl Iterator<Item = Topic<'_>> {
        let topics = self.image.topics();
        let allowed = topics.filter(|topic| self.allows(&topic.name));
        allowed.map(|topic| Topic { of: self, topic })
    }

    fn check(&self, name: &str) -> Result<(), ErrorCode> {
        match self.operation {
            Some(operation) => self.access.check(operation, Resource::Topic, name),
            None => Ok(()),
        }
    }

    fn allows(&self, name: &str) -> bool {
        let allows = |operation| self.access.allows(operation, Resource::Topic, name);
        self.operation.is_none_or(allows)
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.image.leader_epoch()
    }

    pub fn defaults(&self) -> &BrokerDefaults {
        self.image.defaults()
    }

    /// Reads the `wanted` partitions, and waits until there is enough for `wish`. `find` looks up a
    /// partition in the current topics at each read. What was read goes through the topics' fetch
    /// filters, for the consumer `origin`.
    pub async fn fetch(
        &self,
        wanted: &[Wanted],
        wish: Wish,
        origin: &Origin,
        find: impl Fn(&Self, &Wanted) -> Result<Found, ErrorCode>,
    ) -> Fetched {
        let broker = &self.access.broker;
        let source = Source {
            log: &broker.log,
            disk_work: &broker.disk_work,
            memory: &broker.net.memory.answers,
        };
        let look = || {
            let topics = Self::new(&self.access, self.operation);
            targets(wanted, |wanted| find(&topics, wanted))
        };
        let mut fetched = fetch(&source, wish, look).await;
        sift(
            &source,
            &broker.plugins,
            origin,
            wish.deadline,
            &mut fetched,
        )
        .await;
        fetched
    }

    /// Queues an append to the writer, which replies when it is durable.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn start_append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<Awaited<AppendReply>, Stopped> {
        self.access.broker.writer.start_append(parts).await
    }

    /// Runs `work` on a thread that may wait for the disk.
    pub async fn off_executor<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let topics = self.clone();
        let disk_work = &self.access.broker.disk_work;
        disk_work.run(move || work(&topics)).await
    }

    /// Returns the store of the topics' partitions, for work that may wait for the disk.
    pub fn store(&self) -> &dyn LogStore {
        &*self.access.broker.log.store
    }
}

/// A topic, for an operation that the client is allowed to perform.
#[derive(Clone, Copy)]
pub struct Topic<'a> {
    of: &'a Topics,
    topic: &'a Arc<metadata::Topic>,
}

impl Deref for Topic<'_> {
    type Target = Arc<metadata::Topic>;

    fn deref(&self) -> &Self::Target {
        self.topic
    }
}

impl Topic<'_> {
    /// Returns the broker's own id of a partition.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION if the topic has no such partition.
    pub fn partition_id(&self, index: i32) -> Result<PartitionId, ErrorCode> {
        let id = self.topic.partition(index);
        id.ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// Returns the published end of a partition. `known` is the leader epoch that the client knows,
    /// if any.
    ///
    /// # Errors
    /// The topic has no such partition, the epoch differs, or the store cannot be read.
    pub fn published(
        &self,
        index: i32,
        known: Option<LeaderEpoch>,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let id = self.partition_id(index)?;
        check_leader_epoch(self.of.leader_epoch(), known)?;
        self.broker().log.partition(id).map_err(|error| {
            log::error!(target: "sedge::log", "partition {id} cannot be read: {error}");
            ErrorCode::KafkaStorageError
        })
    }

    /// Returns whether fetch filters apply to what this client reads of a partition.
    pub fn filters_reads(&self, index: i32) -> bool {
        let principal = self.of.access.session.principal();
        let config = &self.topic.config;
        !self.topic.is_internal && config.filters_reads(principal.as_str(), index)
    }

    /// Checks that the client may write to `__sedge_plugins`, if this is that topic: its records
    /// are code that the broker runs.
    ///
    /// # Errors
    /// CLUSTER_AUTHORIZATION_FAILED
    pub fn check_deploys(&self) -> Result<(), AppendError> {
        if self.topic.name != PLUGINS_TOPIC {
            return Ok(());
        }
        let access = &self.of.access;
        let checked = access.check(Operation::Alter, Resource::Cluster, CLUSTER_NAME);
        checked.map_err(|code| {
            let why = "Deploying, pausing and deleting plugins needs ALTER on the cluster.";
            AppendError::new(code, why.to_owned())
        })
    }

    /// Checks the signatures of the plugins that a batch deploys, if this is `__sedge_plugins`.
    ///
    /// # Errors
    /// POLICY_VIOLATION
    pub async fn check_signed(&self, batch: Batch) -> Result<Batch, AppendError> {
        if self.topic.name != PLUGINS_TOPIC {
            return Ok(batch);
        }
        let broker = Arc::clone(&self.of.access.broker);
        blocking::unblock(move || broker.plugins.check_signed(&batch).map(|()| batch)).await
    }

    /// Waits until a batch is the next of its partition, if a filter of the topic has a state.
    ///
    /// # Errors
    /// Too many batches wait, the log refuses, or the batch has a wrong sequence.
    pub async fn enter(
        &self,
        index: i32,
        partition: PartitionId,
        sequence: Option<SequenceRange>,
        batch: &Batch,
    ) -> Result<Option<(Held, Verdict)>, AppendError> {
        let Broker {
            plugins,
            log,
            writer,
            ..
        } = self.broker();
        let entering = Entering {
            topic: self.topic,
            index,
            partition,
            bytes: batch.bytes(),
            sequence,
        };
        plugins.enter(log, writer, &entering).await
    }

    /// Runs the topic's filters over a batch, with the state that `held` has.
    ///
    /// # Errors
    /// A filter rejects the batch, or cannot run.
    pub async fn filter(
        &self,
        index: i32,
        origin: &Origin,
        batch: Batch,
        held: &mut Option<Held>,
    ) -> Result<Filtered, AppendError> {
        let Broker {
            plugins,
            log,
            writer,
            ..
        } = self.broker();
        plugins
            .filter((log, writer), (self.topic, index), origin, batch, held)
            .await
    }

    /// Splits a batch by the choices of the topic's partitioner, if there is one.
    ///
    /// # Errors
    /// The partitioner fails, or cannot run.
    pub async fn partition(&self, index: i32, batch: Batch) -> Result<Routed, AppendError> {
        let Broker { plugins, log, .. } = self.broker();
        plugins
            .partition(&log.metadata, self.topic, index, batch)
            .await
    }

    /// Describes whether each filter of the topic can run. `None` if the topic has none.
    pub fn filter_state(&self) -> Option<String> {
        self.broker().plugins.described(self.topic)
    }

    /// Moves the log start of a partition, to the high watermark if `before` is `None`. Returns the
    /// new log start.
    ///
    /// # Errors
    /// The topic has no such partition, or the writer refuses.
    pub async fn delete_records(
        &self,
        index: i32,
        before: Option<Offset>,
    ) -> Result<Offset, ErrorCode> {
        let id = self.partition_id(index)?;
        match self.broker().writer.delete_records(id, before).await {
            Ok(Ok(log_start)) => Ok(log_start),
            Ok(Err(error)) => Err(error.code),
            Err(_) => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    fn broker(&self) -> &Broker {
        &self.of.access.broker
    }
}

/// KIP-320: tells a client that knows an older epoch to look again, and one that knows a newer one
/// to wait.
fn check_leader_epoch(own: LeaderEpoch, known: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
    match known {
        Some(epoch) if epoch < own => Err(ErrorCode::FencedLeaderEpoch),
        Some(epoch) if epoch > own => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
