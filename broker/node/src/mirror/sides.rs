//! The topics of both sides: what is selected here is made upstream, and its partitions are
//! taken up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sedge_core::metadata::Image;
use sedge_core::mirror::Position;
use sedge_protocol::ids::PartitionId;

use crate::client::Error;

use super::limits;
use super::link::{Destination, Link};
use super::upstream::{self, Twin};

impl Link {
    /// Brings both sides' topics together, opens the partitions that can be copied, and gets a
    /// producer id.
    pub(super) async fn prepare(&mut self) -> Result<(), Error> {
        self.is_stale = false;
        let image = self.broker.metadata.load();
        let topics: BTreeMap<String, i32> = image
            .topics()
            .filter(|topic| !topic.is_internal && self.config.selection.takes(&topic.name))
            .map(|topic| (topic.name.clone(), topic.partition_count()))
            .collect();
        self.close_gone(&image);
        self.image = Some(Arc::clone(&image));
        self.client.refresh(&[]).await?;
        if self.client.known_cluster_id().as_deref() == Some(&self.broker.cluster_id) {
            return Err(Error::Itself);
        }
        let replication_factor = self.config.replication_factor;
        let twins = upstream::prepare(&self.client, &topics, replication_factor).await?;
        self.recheck_at = None;
        let mut refused = BTreeMap::new();
        for (name, twin) in twins {
            match twin {
                Twin::Ready => self.open(&image, &name),
                Twin::NotYet => self.recheck_within(limits::RETRY_BACKOFF),
                Twin::Refused(error) => {
                    refused.insert(name, error.to_string());
                    self.recheck_within(limits::RECHECK_EVERY);
                }
            }
        }
        for (topic, why) in &refused {
            if self.refused.get(topic) != Some(why) {
                let name = &self.config.name;
                log::warn!(target: "sedge::mirror", "{name}: {topic} is not copied: {why}");
            }
        }
        self.refused = refused;
        if self.plan.needs_producer() {
            let (id, epoch) = self.client.init_producer_id().await?;
            self.plan.handle_producer(id, epoch);
        }
        Ok(())
    }

    fn recheck_within(&mut self, duration: Duration) {
        let at = Instant::now() + duration;
        self.recheck_at = Some(self.recheck_at.map_or(at, |before| before.min(at)));
    }

    /// Lets partitions go whose topic was deleted.
    fn close_gone(&mut self, image: &Image) {
        let gone: Vec<PartitionId> = self
            .destinations
            .iter()
            .filter(|(_, to)| {
                image
                    .topic(&to.topic)
                    .is_none_or(|topic| topic.id != to.topic_id)
            })
            .map(|(partition, _)| *partition)
            .collect();
        for partition in gone {
            let lost = self.plan.close(partition);
            let Some(to) = self.destinations.remove(&partition) else {
                continue;
            };
            let (link, topic, index) = (&self.config.name, &to.topic, to.index);
            if lost > 0 {
                log::error!(
                    target: "sedge::mirror",
                    "{link}: {topic} was deleted before {lost} records of {topic}-{index} were \
                     acknowledged upstream"
                );
            } else {
                log::info!(
                    target: "sedge::mirror",
                    "{link}: {topic} was deleted; all of {topic}-{index} is upstream"
                );
            }
        }
    }

    /// Takes a topic's partitions up where they stopped.
    fn open(&mut self, image: &Image, name: &str) {
        let Some(topic) = image.topic(name) else {
            return;
        };
        for (index, id) in topic.partitions().enumerate() {
            if self.plan.has(id) {
                continue;
            }
            let partition = match self.broker.partitions.get(&*self.broker.store, id) {
                Ok(partition) => partition,
                Err(error) => {
                    log::error!(target: "sedge::mirror", "{name}-{index} cannot be read: {error}");
                    self.recheck_within(limits::RECHECK_EVERY);
                    continue;
                }
            };
            let index = index as i32;
            let position = Position {
                cursor: self.cursors.get(name, index, topic.id),
                log_start: partition.log_start(),
                high_watermark: partition.high_watermark(),
            };
            let link = &self.config.name;
            let (start, end) = (position.log_start, position.high_watermark);
            let from = position.cursor.unwrap_or(start);
            log::info!(
                target: "sedge::mirror",
                "{link}: {name}-{index} is copied from {from} on; the log has {start} to {end}"
            );
            let to = Destination {
                topic: name.into(),
                index,
                topic_id: topic.id,
            };
            self.destinations.insert(id, to);
            self.plan.open(id, position);
        }
    }
}
