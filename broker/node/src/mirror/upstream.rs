//! The other side's topics: there is one for each of ours, with at least as many partitions.

use std::collections::BTreeMap;

use sedge_protocol::ErrorCode;

use crate::client::topics::NewTopic;
use crate::client::{Client, Error};

/// What became of a topic upstream.
#[derive(Debug)]
pub enum Twin {
    Ready,
    /// Not now: it was only just created, or the upstream is not itself.
    NotYet,
    /// The upstream does not take it, until somebody changes something.
    Refused(Error),
}

/// Creates and grows what is missing; `topics` are names with their numbers of partitions here.
///
/// # Errors
/// The upstream cannot be asked.
pub async fn prepare(
    client: &Client,
    topics: &BTreeMap<String, i32>,
    replication_factor: i16,
) -> Result<BTreeMap<String, Twin>, Error> {
    let names: Vec<&str> = topics.keys().map(String::as_str).collect();
    client.refresh(&names).await?;
    let mut twins = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, partitions) in topics {
        let twin = match client.known_topic(name) {
            None => Twin::NotYet,
            Some(topic) => match topic.error {
                ErrorCode::None if (topic.partitions.len() as i32) < *partitions => {
                    settle(client.create_partitions(name, *partitions).await)?
                }
                ErrorCode::None => Twin::Ready,
                ErrorCode::UnknownTopicOrPartition => {
                    missing.push(NewTopic {
                        name: name.clone(),
                        partitions: Some(*partitions),
                        replication_factor: Some(replication_factor),
                        configs: BTreeMap::new(),
                    });
                    Twin::NotYet
                }
                code => settle(Err(Error::Broker {
                    api: sedge_protocol::ApiKey::Metadata,
                    code,
                    message: None,
                }))?,
            },
        };
        twins.insert(name.clone(), twin);
    }
    if !missing.is_empty() {
        for (name, result) in client.create_topics(&missing).await? {
            log::info!(target: "sedge::mirror", "created {name} upstream: {}", told(&result));
            twins.insert(name, settle(result)?);
        }
    }
    Ok(twins)
}

fn told(result: &Result<(), Error>) -> String {
    result
        .as_ref()
        .map_or_else(ToString::to_string, |()| "done".to_owned())
}

/// A change is seen in the metadata some moments later.
fn settle(result: Result<(), Error>) -> Result<Twin, Error> {
    let Err(error) = result else {
        return Ok(Twin::NotYet);
    };
    match error.code() {
        None => Err(error),
        Some(ErrorCode::TopicAlreadyExists) => Ok(Twin::NotYet),
        Some(_) if error.is_retriable() => Ok(Twin::NotYet),
        Some(_) => Ok(Twin::Refused(error)),
    }
}
