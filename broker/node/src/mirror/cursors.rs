//! Where a link's cursors are kept: committed offsets of a group of this broker.
//!
//! The commits go the way of any client's, over a connection to this broker, and ask never to
//! expire: a link may be without traffic for longer than `offsets.retention.minutes`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_executor::Executor;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::KafkaUuid;

use crate::client::connection::Connection;
use crate::client::groups::{self, CommittedOffset, CommittedOffsets};
use crate::client::{ClientConfig, Error};

use super::group_of;

/// OffsetCommit requests up to this version may ask for a retention of their own.
const COMMIT_VERSION_MAX: i16 = 4;

pub struct Cursors {
    executor: Arc<Executor<'static>>,
    config: ClientConfig,
    group: String,
    connection: Option<Arc<Connection>>,
    saved: CommittedOffsets,
}

/// The topic's identity goes into the offset's metadata: a topic of the same name that was created
/// later has other records.
pub(crate) fn metadata_of(topic_id: KafkaUuid) -> String {
    format!("topic={topic_id}")
}

impl Cursors {
    pub fn new(executor: Arc<Executor<'static>>, link: &str, local: SocketAddr) -> Self {
        let mut config = ClientConfig::new(vec![local.to_string()]);
        config.client_id = group_of(link);
        Self {
            executor,
            config,
            group: group_of(link),
            connection: None,
            saved: CommittedOffsets::new(),
        }
    }

    /// Reads what was committed.
    pub async fn load(&mut self) -> Result<(), Error> {
        let request = groups::offset_fetch(&self.group);
        let response = self.connection().await?.call(&request).await?;
        self.saved = groups::committed(&response)?;
        Ok(())
    }

    /// The cursor of a partition, unless it is another topic's of the same name.
    pub fn get(&self, topic: &str, index: i32, topic_id: KafkaUuid) -> Option<Offset> {
        let saved = self.saved.get(&(topic.to_owned(), index))?;
        // Kafka's tools, with which a cursor may be set, leave no metadata.
        let is_same = saved.metadata.is_empty() || saved.metadata == metadata_of(topic_id);
        is_same.then_some(saved.offset)
    }

    /// Makes cursors durable.
    pub async fn commit(
        &mut self,
        cursors: &[(String, i32, KafkaUuid, Offset)],
    ) -> Result<(), Error> {
        let offsets: BTreeMap<_, _> = cursors
            .iter()
            .map(|(topic, index, id, offset)| {
                let committed = CommittedOffset {
                    offset: *offset,
                    metadata: metadata_of(*id),
                };
                ((topic.clone(), *index), committed)
            })
            .collect();
        let request = groups::offset_commit(&self.group, &offsets).with_retention_time_ms(i64::MAX);
        let connection = self.connection().await?;
        let response = connection
            .call_at_most(&request, COMMIT_VERSION_MAX)
            .await?;
        groups::check_commit(&response)?;
        self.saved.extend(offsets);
        Ok(())
    }

    async fn connection(&mut self) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = self.connection.as_ref().filter(|c| !c.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let address = &self.config.bootstrap_servers[0];
        let opened = Connection::open(&self.executor, &self.config, address).await?;
        Ok(Arc::clone(self.connection.insert(Arc::new(opened))))
    }
}
