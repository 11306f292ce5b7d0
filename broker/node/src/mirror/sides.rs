//! Matches the topics of both sides: selected local topics are created upstream, and their
//! partitions are opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sedge_core::metadata::{Image, Topic};
use sedge_core::mirror::{Position, Side, Spread, Trouble, choose_cursor};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::kafka::KafkaUuid;

use crate::client::Error;
use crate::config::OnTopicRecreated;
use crate::config::limits::RETRY_BACKOFF;

use super::cursors::Origin;
use super::limits;
use super::link::{Destination, Link, Waiting};
use super::upstream::{self, Twin, Wanted};

impl Link {
    /// Matches the topics, opens the partitions that can be copied, and gets a producer id.
    pub(super) async fn prepare(&mut self) -> Result<(), Error> {
        self.is_stale = false;
        let image = self.local.log.metadata.load();
        self.close_gone(&image);
        if let Err(error) = self.cursors.let_expire(&image).await {
            let link = &self.config.name;
            log::warn!(
                target: "sedge::mirror",
                "{link}: cursors of deleted topics cannot be removed: {error}"
            );
        }
        self.image = Some(Arc::clone(&image));
        self.client.refresh(&[]).await?;
        if self.client.known_cluster_id().as_deref() == Some(&self.local.cluster_id) {
            return Err(Error::Itself);
        }
        self.decide_mode().await?;
        if self.session.is_some() && self.plan.needs_producer() {
            self.begin().await?;
        }
        let mut waiting = BTreeMap::new();
        let topics = self.wanted(&image, &mut waiting);
        let topics = self.without_loops(&image, topics, &mut waiting);
        let replication_factor = self.config.replication_factor;
        let link = &self.config.name;
        let twins = upstream::prepare(link, &self.client, &topics, replication_factor).await?;
        self.recheck_at = None;
        self.note_origins(twins.lacks_origins);
        let twins = twins.by_name;
        let ready = twins
            .iter()
            .filter(|(_, twin)| matches!(twin, Twin::Ready))
            .filter_map(|(there, _)| {
                let topic = image.topic(&topics.get(there)?.here)?;
                Some((there.clone(), topic.as_ref()))
            });
        let ready: Vec<(String, &Topic)> = ready.collect();
        let unmarked = self.mark(&ready).await?;
        let mut opened = Vec::new();
        for (there, twin) in twins {
            let here = topics.get(&there).map(|wanted| wanted.here.as_str());
            let Some(topic) = here.and_then(|here| image.topic(here)) else {
                continue;
            };
            let unspread = self.why_not_spread(topic, self.count_upstream(&there));
            let (why, is_refused) = match twin {
                Twin::Ready if unmarked.contains_key(&there) => {
                    self.leave(topic);
                    self.recheck_within(limits::RECHECK_EVERY);
                    (unmarked[&there].clone(), true)
                }
                Twin::Ready if unspread.is_some() => {
                    self.leave(topic);
                    self.recheck_within(limits::RECHECK_EVERY);
                    (unspread.unwrap_or_default(), true)
                }
                Twin::Ready => {
                    self.open(topic, &there, false);
                    opened.push((there, Arc::clone(topic)));
                    continue;
                }
                Twin::Gone => {
                    self.open(topic, &there, true);
                    self.recheck_within(limits::RECHECK_EVERY);
                    continue;
                }
                Twin::NotYet(error) => {
                    self.recheck_within(RETRY_BACKOFF);
                    let asked = "the upstream is creating the topic".to_owned();
                    (error.map_or(asked, |error| error.to_string()), false)
                }
                Twin::Refused(error) => {
                    self.recheck_within(limits::RECHECK_EVERY);
                    let advice = upstream::advice(&error);
                    (format!("{error}; {advice}"), true)
                }
            };
            let state = self.waits(&topic.name, why, is_refused);
            waiting.insert(topic.name.clone(), state);
        }
        self.waiting = waiting;
        self.keep_configs(&image, opened).await?;
        if self.session.is_none() && self.plan.needs_producer() {
            let (id, epoch) = self.client.init_producer_id().await?;
            self.plan.handle_producer(id, epoch);
        }
        Ok(())
    }

    /// Returns the state of a topic that has no twin, which may have lasted for some time.
    pub(super) fn waits(&self, topic: &str, why: String, is_refused: bool) -> Waiting {
        let before = self.waiting.get(topic);
        Waiting {
            since: before.map_or_else(Instant::now, |before| before.since),
            why,
            is_refused,
            is_meant: false,
        }
    }

    /// Returns the selected topics by their names upstream. Topics that would become one are
    /// `waiting`, except one that is copied already.
    pub(super) fn wanted(
        &self,
        image: &Image,
        waiting: &mut BTreeMap<String, Waiting>,
    ) -> BTreeMap<String, Wanted> {
        let selected = image
            .topics()
            .filter(|topic| !topic.is_internal && self.config.selection.takes(&topic.name));
        let mut by_name: BTreeMap<String, Vec<&Arc<Topic>>> = BTreeMap::new();
        for topic in selected {
            let there = self.config.rename.there(&topic.name);
            by_name.entry(there).or_default().push(topic);
        }
        let mut wanted = BTreeMap::new();
        for (there, topics) in by_name {
            let begun = topics.iter().filter(|topic| self.is_begun(topic));
            let begun: Vec<&Arc<Topic>> = begun.copied().collect();
            let one = match (&*topics, &*begun) {
                ([one], _) | (_, [one]) => Some(*one),
                _ => None,
            };
            for topic in topics.iter().filter(|topic| one != Some(**topic)) {
                let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
                let why = format!(
                    "{} would all be {there} upstream; change topics.rename, topics.prefix or \
                     topics.suffix, or add one of them to topics.exclude",
                    names.join(", ")
                );
                waiting.insert(topic.name.clone(), self.waits(&topic.name, why, true));
            }
            let of = |topic: &Arc<Topic>| Wanted {
                here: topic.name.clone(),
                partitions: topic.partition_count(),
                keeps_count: self.config.spreads,
                configs: self.configs_there(topic, image),
                was_there: self.is_to_hold() && self.was_there(topic),
            };
            wanted.extend(one.map(|topic| (there, of(topic))));
        }
        wanted
    }

    /// Returns the configuration with which a topic is created upstream.
    fn configs_there(&self, topic: &Topic, image: &Image) -> BTreeMap<String, String> {
        let mut configs = self.copied_configs(topic, image);
        configs.extend(self.origins_there(topic));
        configs
    }

    /// Leaves out the topics whose records come from the upstream.
    fn without_loops(
        &mut self,
        image: &Image,
        mut topics: BTreeMap<String, Wanted>,
        waiting: &mut BTreeMap<String, Waiting>,
    ) -> BTreeMap<String, Wanted> {
        topics.retain(|_, wanted| {
            let Some(topic) = image.topic(&wanted.here) else {
                return true;
            };
            let Some(why) = self.why_not_there(topic) else {
                return true;
            };
            if !self
                .waiting
                .get(&topic.name)
                .is_some_and(|before| before.is_meant)
            {
                let (link, name) = (&self.config.name, &topic.name);
                log::info!(target: "sedge::mirror", "{link}: {name} is {why}");
            }
            let mut state = self.waits(&topic.name, why, true);
            state.is_meant = true;
            waiting.insert(topic.name.clone(), state);
            self.leave(topic);
            false
        });
        topics
    }

    /// Returns the number of partitions of a topic upstream; 0 if it is not known.
    fn count_upstream(&self, there: &str) -> i32 {
        let known = self.client.known_topic(there);
        known.map_or(0, |known| known.partitions.len() as i32)
    }

    /// Returns why the records of a topic cannot be spread over `count` partitions upstream.
    pub(super) fn why_not_spread(&self, topic: &Topic, count: i32) -> Option<String> {
        let partitions = topic.partition_count();
        if !self.config.spreads || count == 0 || count == partitions {
            return None;
        }
        if self.is_decided && self.session.is_none() {
            return Some(format!(
                "the topic has {count} partitions upstream and {partitions} here, and partitioner \
                 needs exactly-once; set mode = exactly-once, or give both topics the same number"
            ));
        }
        // Their cursors are in the metadata of one offset upstream.
        let together = (partitions - 1) / count;
        (together > limits::CURSORS_TOGETHER_MAX).then(|| {
            format!(
                "the topic has {count} partitions upstream and {partitions} here, more than \
                 {} times as many; add partitions upstream",
                limits::CURSORS_TOGETHER_MAX
            )
        })
    }

    /// Stops copying a topic.
    fn leave(&mut self, topic: &Topic) {
        for id in topic.partitions() {
            if self.destinations.remove(&id).is_some() {
                self.plan.leave(id);
            }
        }
    }

    /// Returns whether the link has copied some of the topic.
    pub(super) fn is_begun(&self, topic: &Topic) -> bool {
        topic.partitions().enumerate().any(|(index, id)| {
            let is_of = |(_, origin): (_, Origin)| origin.is_of(topic.id);
            let saved = || self.cursors.get(&topic.name, index as i32);
            self.destinations.contains_key(&id) || saved().is_some_and(is_of)
        })
    }

    pub(super) fn is_to_hold(&self) -> bool {
        self.config.on_topic_recreated == OnTopicRecreated::Hold
    }

    /// Returns whether records of this topic were copied to an upstream topic with an id.
    fn was_there(&self, topic: &Topic) -> bool {
        topic.partitions().enumerate().any(|(index, id)| {
            self.destinations.get(&id).map_or_else(
                || {
                    let saved = self.cursors.get(&topic.name, index as i32);
                    saved.is_some_and(|(_, origin)| {
                        origin.is_of(topic.id) && origin.upstream.is_some()
                    })
                },
                |to| to.upstream_id.is_some(),
            )
        })
    }

    pub(super) fn recheck_within(&mut self, duration: Duration) {
        let at = Instant::now() + duration;
        self.recheck_at = Some(self.recheck_at.map_or(at, |before| before.min(at)));
    }

    /// Closes partitions whose topic was deleted.
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
                    "{link}: {topic} was deleted; the upstream has all of {topic}-{index}"
                );
            }
        }
    }

    /// Opens a topic's partitions at their cursors, and checks whether the upstream topic is still
    /// the same.
    fn open(&mut self, topic: &Topic, upstream: &str, is_gone_upstream: bool) {
        let known = self.client.known_topic(upstream);
        // Zero from brokers before 2.8, which have no topic ids.
        let there = known.filter(|there| there.id != KafkaUuid::ZERO);
        let there = there.map(|there| there.id.to_string());
        let count = self.count_upstream(upstream);
        let is_spread = self.config.spreads && count > 0 && count != topic.partition_count();
        let spread = is_spread.then_some(count.cast_unsigned());
        let first = topic.partitions().next();
        let mut moved = 0;
        for (index, id) in topic.partitions().enumerate() {
            if !self.plan.has(id) && !self.open_partition(topic, upstream, index as i32, id) {
                self.recheck_within(limits::RECHECK_EVERY);
                if is_spread {
                    // Its cursor and those of others are committed together.
                    self.leave(topic);
                    return;
                }
                continue;
            }
            if !is_gone_upstream {
                self.spread(id, first.unwrap_or(id), spread);
            }
            let is_to_hold = self.is_to_hold();
            let Some(to) = self.destinations.get_mut(&id) else {
                continue;
            };
            let is_other = match (&to.upstream_id, &there) {
                (Some(before), Some(now)) => before != now,
                (Some(_), None) => is_gone_upstream,
                (None, _) => false,
            };
            if is_other && is_to_hold {
                self.plan.pause(id, Trouble::CreatedAgain(Side::Upstream));
                continue;
            }
            if is_other {
                moved += 1;
                self.offsets.forget(id);
                self.plan.begin_again(id);
            }
            if there.is_some() {
                to.upstream_id.clone_from(&there);
            }
        }
        if moved > 0 {
            let (link, name) = (&self.config.name, &topic.name);
            log::warn!(
                target: "sedge::mirror",
                "{link}: {name} was created again upstream: {moved} of its partitions continue in \
                 the new topic, which lacks what was copied to the earlier one"
            );
        }
    }

    /// Sets over how many partitions upstream the records of a partition are spread.
    fn spread(&mut self, id: PartitionId, topic: PartitionId, partitions: Option<u32>) {
        let Some(to) = self.destinations.get_mut(&id) else {
            return;
        };
        to.spread = partitions;
        let spread = partitions.map(|partitions| Spread {
            topic,
            index: to.index.cast_unsigned(),
            partitions,
        });
        self.plan.spread(id, spread);
    }

    /// Opens a partition. Returns false if it cannot be read.
    fn open_partition(
        &mut self,
        topic: &Topic,
        upstream: &str,
        index: i32,
        id: PartitionId,
    ) -> bool {
        let (link, name) = (&self.config.name, &topic.name);
        let partition = match self.local.log.partition(id) {
            Ok(partition) => partition,
            Err(error) => {
                log::error!(target: "sedge::mirror", "{name}-{index} cannot be read: {error}");
                return false;
            }
        };
        let here = self.cursors.get(name, index);
        self.cursors.see(name, index);
        let there = self.cursor_upstream(upstream, index);
        let is_of = |(_, origin): &(Offset, Origin)| origin.is_of(topic.id);
        let is_any = here.is_some() || there.is_some();
        let (here, there) = (here.filter(is_of), there.filter(is_of));
        let configs = here.as_ref().and_then(|(_, origin)| origin.configs.clone());
        let is_successor = is_any && here.is_none() && there.is_none();
        let (cursor, is_moved) = if self.session.is_some() {
            let there = there.as_ref().map(|(offset, _)| *offset);
            let follows = |(offset, origin): &(Offset, Origin)| (*offset, origin.follows_upstream);
            choose_cursor(here.as_ref().map(follows), there)
        } else {
            (here.as_ref().map(|(offset, _)| *offset), false)
        };
        let follows = |(_, origin): &(Offset, Origin)| origin.follows_upstream;
        let is_forgotten = here.as_ref().is_some_and(follows);
        let saved = if is_moved { here } else { there.or(here) };
        let position = Position {
            cursor: cursor.map(|offset| self.not_truncated(id, offset, upstream, index)),
            is_moved,
            is_forgotten,
            log_start: partition.log_start(),
            high_watermark: partition.high_watermark(),
        };
        let (start, end) = (position.log_start, position.high_watermark);
        let from = position.cursor.unwrap_or(start);
        log::info!(
            target: "sedge::mirror",
            "{link}: {name}-{index} is copied from offset {from}; its log starts at {start} and \
             ends at {end}"
        );
        let origin = saved.map(|(_, origin)| origin).unwrap_or_default();
        let to = Destination {
            topic: name.as_str().into(),
            there: upstream.into(),
            index,
            spread: None,
            topic_id: topic.id,
            upstream_id: origin.upstream,
            is_created_again: origin.is_created_again || is_successor,
            configs,
        };
        self.destinations.insert(id, to);
        partition.add_follower(&self.follower);
        self.plan.open(id, position);
        self.plan.classify(id, self.class_of(name));
        if is_successor && self.is_to_hold() {
            self.plan.pause(id, Trouble::CreatedAgain(Side::Here));
        } else if is_successor {
            log::warn!(
                target: "sedge::mirror",
                "{link}: {name} was created again: the records of {name}-{index} go behind those \
                 that the upstream has of the earlier topic"
            );
        }
        true
    }
}
