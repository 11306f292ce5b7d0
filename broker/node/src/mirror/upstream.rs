//! The upstream's topics: one for each local topic, with at least as many partitions. Missing ones
//! are created with the local topic's configuration.

use std::collections::BTreeMap;

use sedge_core::config::{BrokerDefaults, Described, ORIGINS_KEY, Source, describe_topic};
use sedge_protocol::ErrorCode;

use crate::client::topics::{NewTopic, Outcomes};
use crate::client::{Client, Error};
use crate::config::Patterns;

/// A local topic, as it should exist upstream.
#[derive(Debug)]
pub struct Wanted {
    /// The topic's name here.
    pub here: String,
    pub partitions: i32,
    /// Whether an existing topic keeps its number of partitions, and records are spread over them.
    pub keeps_count: bool,
    pub configs: BTreeMap<String, String>,
    /// Whether it must not be created again after it was deleted upstream.
    pub was_there: bool,
}

/// The state of a topic's upstream twin.
#[derive(Debug)]
pub enum Twin {
    Ready,
    /// The topic is not ready yet: it was just created, or the upstream has a transient failure.
    NotYet(Option<Error>),
    /// The topic existed and was deleted.
    Gone,
    /// The upstream refuses the topic until something is changed.
    Refused(Error),
}

/// The twins of all topics, by their names upstream.
#[derive(Debug, Default)]
pub struct Twins {
    pub by_name: BTreeMap<String, Twin>,
    /// Whether the upstream refused the key of a topic's origins: it is no sedge.
    pub lacks_origins: bool,
}

/// Keys that are also copied if the broker sets them for all its topics: without them the upstream
/// would refuse or not keep records that exist here.
const COPIED_FROM_BROKER: &[&str] = &["cleanup.policy", "max.message.bytes"];

/// Returns the part of a topic's configuration to copy upstream: without `excluded` keys.
pub fn copied(
    overrides: &BTreeMap<String, String>,
    defaults: &BrokerDefaults,
    excluded: &Patterns,
) -> BTreeMap<String, String> {
    let is_copied = |entry: &Described| {
        let key = entry.name.as_str();
        let is_set = match entry.source {
            Source::Topic => true,
            Source::Default => false,
            _ => COPIED_FROM_BROKER.contains(&key),
        };
        is_set && !key.starts_with("sedge.") && !excluded.take(key)
    };
    describe_topic(overrides, defaults)
        .into_iter()
        .filter(is_copied)
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect()
}

/// Creates missing topics and partitions; `topics` have their names upstream. `link` is for log
/// lines.
///
/// # Errors
/// The upstream cannot be reached.
pub async fn prepare(
    link: &str,
    client: &Client,
    topics: &BTreeMap<String, Wanted>,
    replication_factor: i16,
) -> Result<Twins, Error> {
    let names: Vec<&str> = topics.keys().map(String::as_str).collect();
    client.refresh(&names).await?;
    let mut twins = Twins::default();
    let mut missing = Vec::new();
    for (name, wanted) in topics {
        let partitions = wanted.partitions;
        let twin = match client.known_topic(name) {
            None => Twin::NotYet(None),
            Some(topic) => match topic.error {
                ErrorCode::None
                    if !wanted.keeps_count && (topic.partitions.len() as i32) < partitions =>
                {
                    settle(client.create_partitions(name, partitions).await)?
                }
                ErrorCode::None => Twin::Ready,
                ErrorCode::UnknownTopicOrPartition if wanted.was_there => Twin::Gone,
                ErrorCode::UnknownTopicOrPartition => {
                    missing.push(NewTopic {
                        name: name.clone(),
                        partitions: Some(partitions),
                        replication_factor: Some(replication_factor),
                        configs: wanted.configs.clone(),
                    });
                    Twin::NotYet(None)
                }
                code => settle(Err(Error::Broker {
                    api: sedge_protocol::ApiKey::Metadata,
                    code,
                    message: None,
                }))?,
            },
        };
        twins.by_name.insert(name.clone(), twin);
    }
    if !missing.is_empty() {
        let (results, lacks_origins) = create(link, client, missing).await?;
        twins.lacks_origins = lacks_origins;
        for (name, result) in results {
            twins.by_name.insert(name, settle(result)?);
        }
    }
    Ok(twins)
}

/// Creates topics. If the upstream refuses a configuration, retries without the keys that it
/// refuses. Returns also whether it refuses the key of origins.
async fn create(
    link: &str,
    client: &Client,
    topics: Vec<NewTopic>,
) -> Result<(Outcomes, bool), Error> {
    let mut results = client.create_topics(&topics).await?;
    let mut lacks_origins = false;
    for topic in topics {
        let Some((name, result)) = results.iter_mut().find(|(name, _)| *name == topic.name) else {
            continue;
        };
        let mut created = topic;
        if is_about_configs(result) && created.configs.contains_key(ORIGINS_KEY) {
            let mut without = created.clone();
            without.configs.remove(ORIGINS_KEY);
            let again = client.create_topics(std::slice::from_ref(&without)).await?;
            if let Some((_, again @ Ok(()))) = again.into_iter().next() {
                *result = again;
                created = without;
                lacks_origins = true;
            }
        }
        if is_about_configs(result) && !created.configs.is_empty() {
            created = without_refused(link, client, created).await?;
            let again = client.create_topics(std::slice::from_ref(&created)).await?;
            *result = again
                .into_iter()
                .next()
                .map_or(Ok(()), |(_, result)| result);
        }
        if result.is_ok() {
            let configs: Vec<String> = created
                .configs
                .iter()
                .map(|(key, value)| format!(" {key}={value}"))
                .collect();
            log::info!(
                target: "sedge::mirror",
                "{link}: created {name} upstream{}{}",
                if configs.is_empty() { "" } else { " with" }, configs.concat()
            );
        }
    }
    Ok((results, lacks_origins))
}

/// Returns the topic with the keys that the upstream accepts. An answer names no key, so each key
/// is checked separately.
async fn without_refused(
    link: &str,
    client: &Client,
    mut topic: NewTopic,
) -> Result<NewTopic, Error> {
    for (key, value) in topic.configs.clone() {
        let alone = NewTopic {
            configs: BTreeMap::from([(key.clone(), value)]),
            ..topic.clone()
        };
        let result = client.validate_topic(&alone).await;
        if !is_about_configs(&result) {
            continue;
        }
        topic.configs.remove(&key);
        if let Err(error) = result {
            let name = &topic.name;
            log::warn!(
                target: "sedge::mirror",
                "{link}: {name} is created upstream without {key}, because the upstream refuses \
                 that key: {error}"
            );
        }
    }
    Ok(topic)
}

pub fn is_about_configs(result: &Result<(), Error>) -> bool {
    let code = result.as_ref().err().and_then(Error::code);
    matches!(
        code,
        Some(ErrorCode::InvalidConfig | ErrorCode::PolicyViolation)
    )
}

/// A change appears in the metadata some moments later.
fn settle(result: Result<(), Error>) -> Result<Twin, Error> {
    let Err(error) = result else {
        return Ok(Twin::NotYet(None));
    };
    match error.code() {
        None => Err(error),
        Some(ErrorCode::TopicAlreadyExists) => Ok(Twin::NotYet(None)),
        Some(_) if error.is_retriable() => Ok(Twin::NotYet(Some(error))),
        Some(_) => Ok(Twin::Refused(error)),
    }
}

/// Returns advice for a topic that the upstream refuses.
pub fn advice(error: &Error) -> &'static str {
    match error.code() {
        Some(ErrorCode::InvalidTopicException) => {
            "add the topic to topics.exclude, or rename one of the two topics"
        }
        Some(ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed) => {
            "allow the link to create topics upstream, or create the topic there"
        }
        Some(ErrorCode::InvalidReplicationFactor) => {
            "set the link's replication.factor to no more than the upstream's number of brokers"
        }
        Some(ErrorCode::PolicyViolation) => "create the topic upstream, as its policy requires",
        _ => "create the topic upstream, or add it to topics.exclude",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::at_run_time;

    #[test]
    fn what_is_about_the_records_is_copied_and_what_is_about_this_broker_is_not() {
        let keys = [("bootstrap.servers", "h:9092"), ("topics", ".*")];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let link = at_run_time("hq", &keys.into()).unwrap();
        let check = |key: &str, value: &str, expected: bool| {
            let overrides = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let excluded = &link.configs_excluded;
            let copied = copied(&overrides, &BrokerDefaults::default(), excluded);
            assert_eq!(!copied.is_empty(), expected, "{key}: {copied:?}");
        };
        check("cleanup.policy", "compact", true);
        check("compression.type", "zstd", true);
        check("max.message.bytes", "5000000", true);
        check("retention.ms", "1000", true);
        check("retention.bytes", "1000", true);
        check("message.timestamp.after.max.ms", "1", true);
        check("message.timestamp.type", "LogAppendTime", false);
        check("min.insync.replicas", "2", false);
        check("flush.messages", "1", false);
        check("sedge.filter", "x", false);
        check("sedge.plugin.x.max", "1", false);
    }
}
