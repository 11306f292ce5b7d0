//! A link's bookkeeping: its cursors, and the offsets of consumer groups.

use std::sync::Arc;
use std::time::Instant;

use super::cursors::{Cursor, Origin};
use super::groups::Pair;
use super::limits;
use super::link::Link;

impl Link {
    /// Commits the cursors that have moved; cursors that were moved from outside are adopted first.
    pub(super) async fn commit(&mut self) {
        self.commit_at = Instant::now() + limits::COMMIT_EVERY;
        self.follow_moves();
        self.keep_offsets().await;
        let cursors = self.plan.uncommitted();
        if cursors.is_empty() {
            return;
        }
        let image = self.local.log.metadata.load();
        let named = cursors.iter().filter_map(|(partition, offset)| {
            let to = self.destinations.get(partition)?;
            // A deleted topic's cursor would be taken for its successor's.
            let is_there = image
                .topic(&to.topic)
                .is_some_and(|it| it.id == to.topic_id);
            let origin = Origin {
                topic: Some(to.topic_id.to_string()),
                upstream: to.upstream_id.clone(),
                is_created_again: to.is_created_again,
                follows_upstream: self.session.is_some(),
                configs: to.configs.clone(),
                ..Origin::default()
            };
            is_there.then(|| Cursor {
                topic: to.topic.to_string(),
                topic_id: to.topic_id,
                index: to.index,
                offset: *offset,
                origin,
            })
        });
        match self.cursors.commit(named.collect()).await {
            Ok(()) => self.plan.handle_committed(&cursors),
            // The link continues: after a crash more is sent twice, and nothing is lost.
            Err(error) => {
                let name = &self.config.name;
                log::warn!(target: "sedge::mirror", "{name}: cursors cannot be committed: {error}");
            }
        }
    }

    /// Compares the groups, if it is time.
    pub(super) async fn keep_groups(&mut self) {
        if self.config.groups.is_empty() || !self.groups.is_due(&self.config.name).await {
            return;
        }
        // What is upstream by now is translated.
        self.keep_offsets().await;
        self.write_offsets().await;
        // The offsets of spread records are not translated.
        let twins = self
            .destinations
            .iter()
            .filter(|(_, to)| to.spread.is_none());
        let pairs = twins.filter_map(|(id, to)| {
            Some(Pair {
                here: Arc::clone(&to.topic),
                topic_id: to.topic_id,
                there: Arc::clone(&to.there),
                index: to.index,
                end: self.local.log.partition(*id).ok()?.high_watermark(),
            })
        });
        let (local, client) = (&self.local, &self.client);
        self.groups
            .begin(&self.config, local, client, &self.metrics, pairs.collect());
    }

    /// Adopts cursors that were moved from outside, by `sedge mirror skip` or Kafka's tools.
    fn follow_moves(&mut self) {
        let image = self.local.log.metadata.load();
        for moved in self.cursors.take_moved() {
            let Some(topic) = image.topic(&moved.topic) else {
                continue;
            };
            let Some(id) = usize::try_from(moved.index)
                .ok()
                .and_then(|index| topic.partitions().nth(index))
            else {
                continue;
            };
            let (Some(from), Some(to)) = (self.plan.cursor(id), self.destinations.get_mut(&id))
            else {
                continue;
            };
            if !moved.origin.is_of(topic.id) {
                continue;
            }
            // The cursor is valid for any topic upstream; the topic is checked again.
            to.upstream_id = None;
            self.is_stale = true;
            let skipped = self.plan.seek(id, moved.offset);
            let (link, topic, index) = (&self.config.name, &moved.topic, moved.index);
            log::warn!(
                target: "sedge::mirror",
                "{link}: the cursor of {topic}-{index} was moved from {from} to {}; {skipped} \
                 records are skipped",
                moved.offset
            );
        }
    }
}
