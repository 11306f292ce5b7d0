//! Topics: creates and deletes them, adds partitions, and configures them.

use std::collections::BTreeMap;

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_configs_response::DescribeConfigsResult;
use sedge_protocol::kafka::generated::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use sedge_protocol::kafka::generated::{
    ApiKey, CreatableTopic, CreatableTopicConfig, CreatePartitionsRequestData,
    CreatePartitionsTopic, CreateTopicsRequestData, DeleteTopicState, DeleteTopicsRequestData,
    DescribeConfigsRequestData, DescribeConfigsResource, IncrementalAlterConfigsRequestData,
    ListConfigResourcesRequestData,
};

use super::cluster::{Client, Target};
use super::error::Error;

/// A topic to create. `None` stands for the broker's default (Kafka 2.4 and later).
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: BTreeMap<String, String>,
}

/// The result for each topic of a request.
pub type Outcomes = Vec<(String, Result<(), Error>)>;

/// One entry of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` if the value is sensitive or unset.
    pub value: Option<String>,
    /// Whether the value was set on the topic or on the broker and differs from the default.
    pub is_set: bool,
    pub read_only: bool,
}

/// The kind of resource that a configuration belongs to, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Resource {
    Topic = 2,
    Broker = 4,
    Group = 32,
}

/// The answer to [`Client::append_configs`] for one topic.
#[derive(Clone, Debug)]
pub struct Marked {
    pub code: ErrorCode,
    pub message: String,
}

/// `CONFIG_SOURCE` numbers below this count as set: dynamic values, and those of the broker's own
/// file.
const SOURCE_DEFAULT: i8 = 5;

impl Client {
    /// Creates topics. Returns one result per topic, in order.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Outcomes, Error> {
        self.create_or_validate(topics, false).await
    }

    /// Checks whether the topic could be created.
    pub async fn validate_topic(&self, topic: &NewTopic) -> Result<(), Error> {
        let topics = std::slice::from_ref(topic);
        let results = self.create_or_validate(topics, true).await?;
        let first = results.into_iter().next();
        first.map_or(Ok(()), |(_, result)| result)
    }

    async fn create_or_validate(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Outcomes, Error> {
        let creatable = topics.iter().map(|topic| {
            let configs = topic.configs.iter().map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(name.clone().into())
                    .with_value(Some(value.clone().into()))
            });
            CreatableTopic::default()
                .with_name(topic.name.clone().into())
                .with_num_partitions(topic.partitions.unwrap_or(-1))
                .with_replication_factor(topic.replication_factor.unwrap_or(-1))
                .with_configs(configs.collect())
        });
        let request = CreateTopicsRequestData::default()
            .with_topics(creatable.collect())
            .with_validate_only(validate_only)
            .with_timeout_ms(self.timeout_ms());
        self.retry(|| async {
            let response = self
                .connection(Target::Controller)
                .await?
                .call(&request)
                .await?;
            let results: Vec<_> = response
                .topics
                .iter()
                .map(|topic| {
                    let message = topic.error_message.as_ref().map(KafkaString::as_str);
                    let result = Error::check(ApiKey::CreateTopics, topic.error_code, message);
                    (topic.name.as_str().to_owned(), result)
                })
                .collect();
            unless_moved(results)
        })
        .await
    }

    /// Deletes topics by name. Returns one result per topic.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Outcomes, Error> {
        let api = ApiKey::DeleteTopics;
        self.retry(|| async {
            let connection = self.connection(Target::Controller).await?;
            let version = connection
                .versions()
                .choose(api)
                .ok_or(Error::Unsupported { api })?;
            let mut request = DeleteTopicsRequestData::default().with_timeout_ms(self.timeout_ms());
            if version >= 6 {
                let state = |name: &String| {
                    DeleteTopicState::default().with_name(Some(name.clone().into()))
                };
                request = request.with_topics(names.iter().map(state).collect());
            } else {
                request = request
                    .with_topic_names(names.iter().map(|name| name.clone().into()).collect());
            }
            let response = connection.call(&request).await?;
            let results: Vec<_> = response
                .responses
                .iter()
                .map(|topic| {
                    let message = topic.error_message.as_ref().map(KafkaString::as_str);
                    let name = topic
                        .name
                        .as_ref()
                        .map_or("", KafkaString::as_str)
                        .to_owned();
                    (name, Error::check(api, topic.error_code, message))
                })
                .collect();
            unless_moved(results)
        })
        .await
    }

    /// Raises the number of a topic's partitions to `count`.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), Error> {
        let entry = CreatePartitionsTopic::default()
            .with_name(topic.to_owned().into())
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequestData::default()
            .with_topics(vec![entry])
            .with_timeout_ms(self.timeout_ms());
        let api = ApiKey::CreatePartitions;
        self.retry(|| async {
            let response = self
                .connection(Target::Controller)
                .await?
                .call(&request)
                .await?;
            let result = response
                .results
                .first()
                .ok_or(Error::Missing { api, what: "topic" })?;
            let message = result.error_message.as_ref().map(KafkaString::as_str);
            Error::check(api, result.error_code, message)
        })
        .await?;
        self.forget(topic);
        Ok(())
    }

    /// Returns the configuration of one topic or broker, defaults included.
    pub async fn describe_configs(
        &self,
        resource: Resource,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, Error> {
        self.describe_some_configs(resource, name, None).await
    }

    /// Returns one topic's or broker's configuration, of the named keys if there are any.
    ///
    /// # Errors
    /// The broker refuses, or cannot be reached.
    pub async fn describe_some_configs(
        &self,
        resource: Resource,
        name: &str,
        keys: Option<&[&str]>,
    ) -> Result<Vec<ConfigEntry>, Error> {
        let keys = keys.map(|keys| keys.iter().map(|key| (*key).to_owned().into()).collect());
        let entry = DescribeConfigsResource::default()
            .with_resource_type(resource as i8)
            .with_resource_name(name.to_owned().into())
            .with_configuration_keys(keys);
        let request = DescribeConfigsRequestData::default().with_resources(vec![entry]);
        let target = target_of(resource, name);
        let api = ApiKey::DescribeConfigs;
        let response = self.call(target, &request).await?;
        let result = response.results.first().ok_or(Error::Missing {
            api,
            what: "resource",
        })?;
        let message = result.error_message.as_ref().map(KafkaString::as_str);
        Error::check(api, result.error_code, message)?;
        Ok(entries_of(result))
    }

    /// Returns these keys of several topics' configurations, in the order of the topics.
    ///
    /// # Errors
    /// The broker cannot be reached. In the results: the broker refuses, or knows no such topic.
    pub async fn describe_topics(
        &self,
        topics: &[&str],
        keys: &[&str],
    ) -> Result<Vec<Result<Vec<ConfigEntry>, Error>>, Error> {
        let resources = topics.iter().map(|topic| {
            let keys = keys.iter().map(|key| (*key).to_owned().into());
            DescribeConfigsResource::default()
                .with_resource_type(Resource::Topic as i8)
                .with_resource_name((*topic).to_owned().into())
                .with_configuration_keys(Some(keys.collect()))
        });
        let request = DescribeConfigsRequestData::default().with_resources(resources.collect());
        let api = ApiKey::DescribeConfigs;
        let response = self.call(Target::Any, &request).await?;
        let of = |topic: &&str| {
            let mut results = response.results.iter();
            let result = results
                .find(|result| result.resource_name.as_str() == *topic)
                .ok_or(Error::Missing { api, what: "topic" })?;
            let message = result.error_message.as_ref().map(KafkaString::as_str);
            Error::check(api, result.error_code, message)?;
            Ok(entries_of(result))
        };
        Ok(topics.iter().map(of).collect())
    }

    /// Returns the names of the groups that have configurations; none if the broker is too old to
    /// list them.
    pub async fn configured_groups(&self) -> Result<Vec<String>, Error> {
        let request = ListConfigResourcesRequestData::default()
            .with_resource_types(vec![Resource::Group as i8]);
        let response = match self.call(Target::Any, &request).await {
            Err(Error::Unsupported { .. }) => return Ok(Vec::new()),
            response => response?,
        };
        match ErrorCode::from(response.error_code) {
            ErrorCode::UnsupportedVersion => return Ok(Vec::new()),
            _ => Error::check(ApiKey::ListConfigResources, response.error_code, None)?,
        }
        let resources = response.config_resources.iter();
        Ok(resources
            .map(|resource| resource.resource_name.to_string())
            .collect())
    }

    /// Sets (`Some`) and resets (`None`) entries of the configuration of a topic, broker or group.
    pub async fn alter_configs(
        &self,
        resource: Resource,
        name: &str,
        changes: &[(&str, Option<&str>)],
    ) -> Result<(), Error> {
        let altered = self.alter_or_validate(resource, name, changes, false);
        altered.await.map(drop)
    }

    /// Alters or validates a configuration. Returns the message of the success, if there is one.
    pub async fn alter_or_validate(
        &self,
        resource: Resource,
        name: &str,
        changes: &[(&str, Option<&str>)],
        validate_only: bool,
    ) -> Result<Option<String>, Error> {
        const SET: i8 = 0;
        const DELETE: i8 = 1;
        let configs = changes.iter().map(|(key, value)| {
            AlterableConfig::default()
                .with_name((*key).to_owned().into())
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.map(|value| value.to_owned().into()))
        });
        let entry = AlterConfigsResource::default()
            .with_resource_type(resource as i8)
            .with_resource_name(name.to_owned().into())
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequestData::default()
            .with_resources(vec![entry])
            .with_validate_only(validate_only);
        let api = ApiKey::IncrementalAlterConfigs;
        let response = self.call(target_of(resource, name), &request).await?;
        let result = response.responses.first().ok_or(Error::Missing {
            api,
            what: "resource",
        })?;
        let message = result.error_message.as_ref().map(KafkaString::as_str);
        Error::check(api, result.error_code, message)?;
        Ok(message.map(str::to_owned))
    }

    /// Adds to a list of several topics' configurations, each topic with its value. Returns the
    /// answer for each topic, in order.
    pub async fn append_configs<'a>(
        &self,
        key: &str,
        topics: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<Marked>, Error> {
        const APPEND: i8 = 2;
        let resources = topics.map(|(topic, value)| {
            let config = AlterableConfig::default()
                .with_name(key.to_owned().into())
                .with_config_operation(APPEND)
                .with_value(Some(value.to_owned().into()));
            AlterConfigsResource::default()
                .with_resource_type(Resource::Topic as i8)
                .with_resource_name(topic.to_owned().into())
                .with_configs(vec![config])
        });
        let request =
            IncrementalAlterConfigsRequestData::default().with_resources(resources.collect());
        let response = self.call(Target::Any, &request).await?;
        let answers = response.responses.into_iter().map(|answer| {
            let topic = answer.resource_name.to_string();
            let message = answer.error_message.map(|message| message.to_string());
            let marked = Marked {
                code: ErrorCode::from(answer.error_code),
                message: message.unwrap_or_default(),
            };
            (topic, marked)
        });
        let mut answers: BTreeMap<String, Marked> = answers.collect();
        let api = ApiKey::IncrementalAlterConfigs;
        let resources = request.resources.iter();
        resources
            .map(|resource| {
                let answer = answers.remove(resource.resource_name.as_str());
                answer.ok_or(Error::Missing {
                    api,
                    what: "resource",
                })
            })
            .collect()
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

fn entries_of(result: &DescribeConfigsResult) -> Vec<ConfigEntry> {
    let entries = result.configs.iter().map(|config| ConfigEntry {
        name: config.name.as_str().to_owned(),
        value: config.value.as_ref().map(|value| value.as_str().to_owned()),
        is_set: config.config_source != SOURCE_DEFAULT,
        read_only: config.read_only,
    });
    entries.collect()
}

/// Returns the target for a resource: a broker answers for its own configuration, any broker for a
/// topic's.
fn target_of(resource: Resource, name: &str) -> Target<'static> {
    match (resource, name.parse()) {
        (Resource::Broker, Ok(id)) => Target::Broker(id),
        _ => Target::Any,
    }
}

/// Turns `NOT_CONTROLLER` into an error of the whole request, which is retried at the new
/// controller.
fn unless_moved(results: Outcomes) -> Result<Outcomes, Error> {
    let moved = |result: &Result<(), Error>| {
        result
            .as_ref()
            .is_err_and(|error| error.code() == Some(ErrorCode::NotController))
    };
    if results.iter().any(|(_, result)| moved(result)) {
        return Err(Error::NoBroker("controller at the broker that was asked"));
    }
    Ok(results)
}
