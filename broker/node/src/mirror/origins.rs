//! Where the records of a topic come from, so that no circle of links copies them for ever.
//!
//! A link that sends a topic to another sedge creates it there with `sedge.mirror.origins`: this
//! cluster's id, and those that the topic here has. It adds them to a topic that exists. A topic is
//! not sent to a cluster that is among its origins. Batches travel unchanged; other brokers have no
//! such key, and send nothing on.
//!
//! **Invariant:** the upstream has the origins before it has a record of them: a topic is opened
//! after it is marked, and marked again, before more is read, when its own origins have changed.
//! The link reads up to a bound that it looked at before it looked for changes ([`Link::copy`]).

use std::collections::BTreeMap;

use sedge_core::config::{ORIGINS_KEY, origins};
use sedge_core::metadata::Topic;
use sedge_protocol::{ApiKey, ErrorCode};

use crate::client::Error;
use crate::client::topics::Marked;

use super::limits;
use super::link::Link;

impl Link {
    /// Returns why a topic is not sent to this upstream: its records come from there.
    pub(super) fn why_not_there(&self, topic: &Topic) -> Option<String> {
        let upstream = self.client.known_cluster_id()?;
        let is_from_there = origins(&topic.overrides).any(|id| id == upstream);
        is_from_there.then(|| {
            format!(
                "not sent: its records come from the upstream, cluster {upstream}, by way of a \
                 link ({ORIGINS_KEY} of the topic)"
            )
        })
    }

    /// Remembers whether the upstream, which has created topics, has the key.
    pub(super) fn note_origins(&mut self, lacks_origins: bool) {
        if lacks_origins {
            self.marks.without_key = self.client.known_cluster_id();
        }
    }

    fn lacks_origins(&self) -> bool {
        let upstream = self.client.known_cluster_id();
        upstream.is_some() && self.marks.without_key == upstream
    }

    /// Returns the key with which a topic is created upstream: another link there sees the topic
    /// with its origins from the first moment.
    pub(super) fn origins_there(&self, topic: &Topic) -> Option<(String, String)> {
        let value = self.origins_of(topic);
        (!self.lacks_origins()).then(|| (ORIGINS_KEY.to_owned(), value))
    }

    fn origins_of(&self, topic: &Topic) -> String {
        let own = std::iter::once(self.local.cluster_id.as_str());
        let all: Vec<&str> = own.chain(origins(&topic.overrides)).collect();
        all.join(",")
    }

    /// Marks topics upstream, each by its name there, with the origins that they have here. Returns
    /// those that the upstream does not let the link mark, with the reason.
    ///
    /// # Errors
    /// The upstream cannot be reached, or has a transient failure.
    pub(super) async fn mark(
        &mut self,
        topics: &[(String, &Topic)],
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut refused = BTreeMap::new();
        if self.lacks_origins() {
            return Ok(refused);
        }
        let upstream = self.client.known_cluster_id();
        let wanted = topics.iter().map(|(there, topic)| {
            let id = self.client.known_topic(there).map(|known| known.id);
            let id = id.map_or_else(String::new, |id| id.to_string());
            (there.clone(), (id, self.origins_of(topic)))
        });
        let new = wanted.filter(|(there, mark)| self.marks.by_topic.get(there) != Some(mark));
        let new: Vec<(String, (String, String))> = new.collect();
        for chunk in new.chunks(limits::MARKED_TOGETHER_MAX) {
            let values = chunk
                .iter()
                .map(|(there, (_, value))| (there.as_str(), value.as_str()));
            let results = match self.client.append_configs(ORIGINS_KEY, values).await {
                // The upstream is older than the request.
                Err(Error::Unsupported { .. }) => {
                    self.marks.without_key = upstream;
                    return Ok(refused);
                }
                results => results?,
            };
            for ((there, mark), Marked { code, message }) in chunk.iter().zip(results) {
                let error = Error::Broker {
                    api: ApiKey::IncrementalAlterConfigs,
                    code,
                    message: Some(message.clone()),
                };
                match code {
                    // The answer of a sedge, which has the key.
                    ErrorCode::TopicAuthorizationFailed if message.contains(ORIGINS_KEY) => {
                        refused.insert(there.clone(), message);
                        continue;
                    }
                    ErrorCode::InvalidConfig => self.marks.without_key.clone_from(&upstream),
                    ErrorCode::None => {}
                    _ if error.is_retriable() => return Err(error),
                    _ => {}
                }
                self.marks.by_topic.insert(there.clone(), mark.clone());
            }
        }
        Ok(refused)
    }
}
