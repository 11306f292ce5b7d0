//! The topics here: created as they are upstream, grown, and told apart from others of their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::config::{MIRROR_CONFIGS_KEY, MIRROR_SOURCE_KEY, ORIGINS_KEY, origins};
use sedge_core::metadata::{Command, CommandError, PLUGINS_TOPIC, Topic};
use sedge_core::mirror::CopiedConfigs;
use sedge_protocol::ErrorCode;

use super::Pull;
use super::source::Source;
use crate::client::Error;
use crate::client::cluster::TopicMetadata;
use crate::client::topics::Resource;
use crate::mirror::configs;
use crate::mirror::pause::Pause;
use crate::writer::Stopped;

/// Reason why a topic is not copied, or why the link stops.
pub(super) enum NotCopied {
    Why(String),
    Stopped,
}

impl From<Stopped> for NotCopied {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<CommandError> for NotCopied {
    fn from(error: CommandError) -> Self {
        let (code, why) = (error.code, error.message);
        Self::Why(format!(
            "the topic cannot be created or grown here: {code}: {why}"
        ))
    }
}

impl Pull {
    /// Creates the topics that the configuration declares and that are not here, so that consumers
    /// find them before the upstream is reached. Which topics they copy is written when it is.
    pub(super) async fn declare_topics(&self) -> Result<(), Pause> {
        let link = &self.config.name;
        for topic in &self.config.declared {
            let name = &topic.name;
            if self.here(name).is_some() {
                continue;
            }
            log::info!(
                target: "sedge::mirror",
                "{link}: creates {name} here, as topics.create declares it"
            );
            let configs = vec![(MIRROR_SOURCE_KEY.to_owned(), unknown(link))];
            let writer = &self.local.writer;
            let created = writer.create_topic(name, topic.partitions, configs).await;
            if let Err(error) = created.map_err(|_| Pause::Stop)? {
                let (code, why) = (error.code, error.message);
                log::warn!(
                    target: "sedge::mirror",
                    "{link}: {name} cannot be created before the upstream is reached: {code}: {why}"
                );
            }
        }
        Ok(())
    }

    /// Finds the upstream's topics, and creates those that are not here.
    pub(super) async fn match_topics(&mut self) -> Result<(), Pause> {
        let (cluster, selected, _) = self.selected().await?;
        let mut before = std::mem::take(&mut self.sources);
        self.refused.clear();
        let mut copies = Vec::new();
        for (name, there) in &selected {
            let source = self.source_of(&cluster, there);
            match self.match_topic(name, there, &source, &cluster).await {
                Ok(topic) => {
                    self.open(&topic, there, &mut before);
                    copies.push(topic);
                }
                Err(NotCopied::Stopped) => return Err(Pause::Stop),
                Err(NotCopied::Why(why)) => {
                    self.refused.insert(name.clone(), why);
                }
            }
        }
        self.keep_configs(&copies).await?;
        self.idle = selected.is_empty().then(|| {
            "the upstream has no topic that the link's topics select and its user may see"
                .to_owned()
        });
        Ok(())
    }

    /// Returns the upstream's cluster id, the topics there that the link copies, and the patterns
    /// that match none.
    pub(super) async fn selected(
        &self,
    ) -> Result<(String, BTreeMap<String, TopicMetadata>, Vec<String>), Error> {
        let upstream = self.client.describe_all().await?;
        let cluster = upstream.cluster_id.unwrap_or_default();
        if cluster == self.local.cluster_id {
            return Err(Error::Itself);
        }
        let selection = &self.config.selection;
        let names: Vec<&str> = upstream.topics.keys().map(String::as_str).collect();
        let unmatched = selection.unmatched(&names);
        let selected = upstream.topics.into_iter().filter(|(name, topic)| {
            let is_taken = if name == PLUGINS_TOPIC {
                // Plugins come from an upstream only if the link asks for them by this name.
                selection.names(name)
            } else {
                !topic.internal && selection.takes(name)
            };
            is_taken && topic.error == ErrorCode::None
        });
        let selected: BTreeMap<String, TopicMetadata> = selected.collect();
        let names: Vec<&str> = selected.keys().map(String::as_str).collect();
        // The client keeps the leaders of the topics that were asked for by name.
        self.client.refresh(&names).await?;
        Ok((cluster, selected, unmatched))
    }

    /// Returns the `sedge.mirror.source` of the copy of a topic.
    pub(super) fn source_of(&self, cluster: &str, there: &TopicMetadata) -> String {
        format!("{}/{cluster}/{}", self.config.name, there.id)
    }

    /// Opens the partitions of a topic. Those that were open stay as they are.
    fn open(
        &mut self,
        topic: &Arc<Topic>,
        there: &TopicMetadata,
        before: &mut BTreeMap<super::Place, Source>,
    ) {
        let name: Arc<str> = topic.name.as_str().into();
        for (index, id) in topic.partitions().enumerate() {
            let place = (Arc::clone(&name), index as i32);
            if !there.partitions.contains_key(&place.1) {
                continue;
            }
            let known = before.remove(&place).filter(|known| known.partition == id);
            if let Some(mut known) = known {
                known.topic = Arc::clone(topic);
                self.sources.insert(place, known);
                continue;
            }
            match self.local.log.partition(id) {
                Ok(partition) => {
                    let end = partition.high_watermark();
                    let mut source = Source::new(id, Arc::clone(topic), there.id, end);
                    for slice in self.local.log.store.slices(id).unwrap_or_default() {
                        let records = slice.next_offset.get() - slice.first_offset.get();
                        let records = records.max(0).unsigned_abs();
                        source.see(records, slice.bytes, slice.max_timestamp);
                    }
                    self.sources.insert(place, source);
                }
                Err(error) => {
                    let why = format!("the log here cannot be read: {error}");
                    self.refused.insert(topic.name.clone(), why);
                }
            }
        }
    }

    /// Returns the topic here, with as many partitions as there are upstream.
    async fn match_topic(
        &self,
        name: &str,
        there: &TopicMetadata,
        source: &str,
        cluster: &str,
    ) -> Result<Arc<Topic>, NotCopied> {
        let partitions = there.partitions.len() as i32;
        if self.here(name).is_none() {
            let configs = self.configs(name, source, cluster).await?;
            let link = &self.config.name;
            log::info!(
                target: "sedge::mirror",
                "{link}: creates {name} here, with {partitions} partitions, as a copy"
            );
            let writer = &self.local.writer;
            writer.create_topic(name, partitions, configs).await??;
        }
        let Some(topic) = self.here(name) else {
            return Err(NotCopied::Why("the topic was deleted here".to_owned()));
        };
        let is_of = topic.overrides.get(MIRROR_SOURCE_KEY).map(String::as_str);
        if is_of == Some(&unknown(&self.config.name)) {
            return self.adopt(&topic, partitions, (source, cluster)).await;
        }
        if is_of != Some(source) {
            return Err(NotCopied::Why(other(
                name,
                is_of.unwrap_or_default(),
                source,
            )));
        }
        if topic.partition_count() >= partitions {
            return Ok(topic);
        }
        self.grow(name, partitions).await?;
        Ok(self.here(name).unwrap_or(topic))
    }

    /// Makes a topic that was declared the copy of `source`.
    async fn adopt(
        &self,
        topic: &Arc<Topic>,
        partitions: i32,
        (source, cluster): (&str, &str),
    ) -> Result<Arc<Topic>, NotCopied> {
        let (name, declared) = (&topic.name, topic.partition_count());
        if declared > partitions {
            return Err(NotCopied::Why(format!(
                "topics.create declares {declared} partitions, and the upstream has {partitions}; \
                 correct topics.create, and delete the topic here"
            )));
        }
        let configs = self.configs(name, source, cluster).await?;
        let changes = configs.into_iter().map(|(key, value)| (key, Some(value)));
        let alter = Command::AlterTopicConfigs {
            name: name.clone(),
            changes: changes.collect(),
        };
        self.local.writer.metadata(alter).await??;
        if declared < partitions {
            self.grow(name, partitions).await?;
        }
        let known = self.here(name);
        known.ok_or_else(|| NotCopied::Why("the topic was deleted here".to_owned()))
    }

    async fn grow(&self, name: &str, total: i32) -> Result<(), NotCopied> {
        let grow = Command::CreatePartitions {
            name: name.to_owned(),
            total,
            assigned: None,
            validate_only: false,
        };
        self.local.writer.metadata(grow).await??;
        Ok(())
    }

    pub(super) fn here(&self, name: &str) -> Option<Arc<Topic>> {
        self.local.log.metadata.load().topic(name).cloned()
    }

    /// Returns the configuration of a new topic, with the clusters that its records come from. An
    /// upstream that does not tell its configuration leaves the broker's own.
    pub(super) async fn configs(
        &self,
        name: &str,
        source: &str,
        cluster: &str,
    ) -> Result<Vec<(String, String)>, NotCopied> {
        let told = self.client.describe_configs(Resource::Topic, name).await;
        let told = told.unwrap_or_else(|error| {
            let link = &self.config.name;
            log::warn!(
                target: "sedge::mirror",
                "{link}: {name} gets the broker's configuration, because the upstream does not \
                 tell its own: {error}"
            );
            Vec::new()
        });
        let set = configs::set(told);
        if origins(&set).any(|id| id == self.local.cluster_id) {
            return Err(NotCopied::Why(format!(
                "its records come from here, by way of a link ({ORIGINS_KEY} of the topic upstream)"
            )));
        }
        let from: Vec<&str> = origins(&set).chain([cluster]).collect();
        let own = [
            (MIRROR_SOURCE_KEY.to_owned(), source.to_owned()),
            (ORIGINS_KEY.to_owned(), from.join(",")),
        ];
        let copied = self.copied(&set);
        let remembered = CopiedConfigs::of(&copied).to_string();
        let remembered = (MIRROR_CONFIGS_KEY.to_owned(), remembered);
        Ok(copied.into_iter().chain(own).chain([remembered]).collect())
    }
}

/// Returns the `sedge.mirror.source` of a topic whose upstream was not reached yet.
fn unknown(link: &str) -> String {
    format!("{link}/")
}

/// Returns whether a topic was created by `topics.create` of the link, and copies none yet.
pub(super) fn is_declared(source: &str, link: &str) -> bool {
    source == unknown(link)
}

/// Says why a topic here is not the copy of `source`, and what to do.
pub(super) fn other(name: &str, is_of: &str, source: &str) -> String {
    if is_of.is_empty() && name == PLUGINS_TOPIC {
        return "plugins were deployed here before the link began; take the topic out of the \
                link's topics, or begin with a new data directory"
            .to_owned();
    }
    if is_of.is_empty() {
        return "there is a topic of this name here that is no copy; add it to topics.exclude, or \
                delete it here"
            .to_owned();
    }
    let link = |of: &str| of.split('/').next().unwrap_or_default().to_owned();
    if link(is_of) != link(source) {
        return format!(
            "the link {} writes this topic; leave it out of one of the two links",
            link(is_of)
        );
    }
    "the topic was created again upstream, or the link has another upstream now; delete the topic \
     here to copy the new one, or remove its sedge.mirror.source to keep what is here"
        .to_owned()
}
