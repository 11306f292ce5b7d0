//! A mirror link, from its `[mirror.NAME]` table.

use std::collections::BTreeMap;
use std::time::Duration;

use sedge_core::config::{OnPluginError, filter_names};
use sedge_core::mirror::Packing;
use sedge_core::partitioner::MURMUR2;

use super::declared::{DeclaredTopic, declared};
use super::groups::GroupSelection;
use super::limits;
use super::link_values::{boolean, compiled, not_a_pattern, number, patterns};
use super::packing::packing;
use super::rename::Rename;
use super::selection::{Patterns, Selection};
use super::spending::Spending;
use crate::client::ClientConfig;
use crate::client::config::ConfigError;

/// One link, checked.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    pub name: String,
    pub client: ClientConfig,
    pub selection: Selection,
    /// Topics that a pull link creates before it reaches the upstream.
    pub declared: Vec<DeclaredTopic>,
    pub rename: Rename,
    /// Whether the link is to rest until it is resumed.
    pub is_paused: bool,
    pub direction: Direction,
    /// Replication factor of the topics that the link creates upstream; -1 is the upstream's
    /// default.
    pub replication_factor: i16,
    /// Whether changes of topics' configurations are copied.
    pub syncs_configs: bool,
    /// Keys of topics that are not copied.
    pub configs_excluded: Patterns,
    /// Whether the offsets that records get upstream are kept.
    pub keeps_offsets: bool,
    pub groups: GroupSelection,
    pub window_bytes: usize,
    pub request_bytes: usize,
    pub packing: Packing,
    pub spending: Spending,
    /// How long new records of a partition wait for others that go with them.
    pub linger: Duration,
    /// `None`: exactly-once if the upstream has transactions, otherwise at-least-once.
    pub mode: Option<Mode>,
    /// `None`: a name of the link and the cluster.
    pub transactional_id: Option<String>,
    pub transaction_timeout: Duration,
    /// How long a transaction gathers records.
    pub commit_interval: Duration,
    pub on_topic_recreated: OnTopicRecreated,
    /// Whether topics upstream may have another number of partitions: keys go where Kafka's
    /// producers would send them.
    pub spreads: bool,
    /// How long a partition may fail before it is held.
    pub held_after: Duration,
    /// Names of the filter plugins of what the link sends, in the order in which they run.
    pub filters: Vec<String>,
    pub on_filter_error: OnPluginError,
    /// Settings of the filters, by `PLUGIN.KEY`.
    pub filter_settings: BTreeMap<String, String>,
}

/// The delivery guarantee of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A `read_committed` consumer upstream sees every record once.
    ExactlyOnce,
    /// A crash may send records again.
    AtLeastOnce,
}

/// The direction in which a link copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From here to the upstream.
    Push,
    /// From the upstream to here.
    Pull,
}

/// Keys of what a link does to an upstream's topics, and to records on their way there.
const PUSH_ONLY: &[&str] = &[
    "budget.bytes.per.day",
    "budget.bytes.per.month",
    "budget.bytes.per.second",
    "budget.hours",
    "budget.utc.offset",
    "batch.size",
    "compression.type",
    "delivery.timeout.ms",
    "emit.offset-syncs.enabled",
    "filter",
    "filter.on.error",
    "commit.interval.ms",
    "linger.ms",
    "max.request.size",
    "mode",
    "on.topic.recreated",
    "partitioner",
    "replication.factor",
    "topics.deadline.ms",
    "topics.prefix",
    "topics.priority",
    "topics.rename",
    "topics.suffix",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Keys of what a link does to topics here.
const PULL_ONLY: &[&str] = &["topics.create"];

/// Keys of topics that links do not copy by default: those about a broker's disk and replicas, and
/// the kind of timestamp. Records are sent with the time that local consumers see, and an upstream
/// with `LogAppendTime` would overwrite it. Follows MirrorMaker's list.
const CONFIGS_EXCLUDED: &str = "file\\.delete\\.delay\\.ms, flush\\..*, \
    .*\\.replication\\.throttled\\.replicas, message\\.timestamp\\.type, min\\.insync\\.replicas, \
    preallocate, unclean\\.leader\\.election\\.enable";

/// The reaction to a topic that was deleted and created again, here or upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTopicRecreated {
    /// The new topic's records are appended to what the upstream has.
    Append,
    /// Its partitions wait until their cursors are set.
    Hold,
}

/// A link's table in the configuration, not yet checked. It has secrets, and so no `Debug`.
#[derive(Default)]
pub(super) struct LinkTable {
    /// The link's name.
    pub name: String,
    /// Its keys, without `mirror.NAME.`.
    pub properties: BTreeMap<String, String>,
}

impl LinkConfig {
    /// Names the link's client by the cluster too, unless the configuration names it: an operator
    /// upstream can tell a thousand links of one name apart.
    pub fn identify(&mut self, cluster_id: &str) {
        if self.client.client_id == client_id(&self.name) {
            self.client.client_id = format!("{}-{cluster_id}", self.client.client_id);
        }
    }

    /// Checks a table.
    ///
    /// # Errors
    /// The key that cannot be used, with its whole name, and the reason.
    pub(super) fn from_table(table: &LinkTable) -> Result<Self, ConfigError> {
        Self::read(table).map_err(|error| ConfigError {
            key: format!("mirror.{}.{}", table.name, error.key),
            reason: error.reason,
        })
    }

    /// Checks a table. Errors have the key without `mirror.NAME.`.
    pub(super) fn read(table: &LinkTable) -> Result<Self, ConfigError> {
        let mut properties = table.properties.clone();
        let is_pull = properties
            .get("direction")
            .is_some_and(|it| it.trim() == "pull");
        let (others, why) = if is_pull {
            (PUSH_ONLY, "a pull link has no such key")
        } else {
            (PULL_ONLY, "a push link has no such key")
        };
        if let Some(key) = others.iter().find(|key| properties.contains_key(**key)) {
            return Err(ConfigError::new(key, why));
        }
        let groups = GroupSelection::take_from(&mut properties)?;
        let mut take = |key: &str| properties.remove(key);
        let direction = match take("direction").as_deref().map(str::trim) {
            None | Some("push") => Direction::Push,
            Some("pull") => Direction::Pull,
            Some(other) => {
                return Err(ConfigError::new(
                    "direction",
                    format!("{other:?} is not valid; use push or pull"),
                ));
            }
        };
        let mode = match take("mode").as_deref().map(str::trim) {
            None => None,
            Some("exactly-once") => Some(Mode::ExactlyOnce),
            Some("at-least-once") => Some(Mode::AtLeastOnce),
            Some(other) => {
                return Err(ConfigError::new(
                    "mode",
                    format!("{other:?} is not valid; use exactly-once or at-least-once"),
                ));
            }
        };
        let transactional_id = take("transactional.id").filter(|id| !id.trim().is_empty());
        let transaction_timeout_ms: u32 = number(
            "transaction.timeout.ms",
            take("transaction.timeout.ms"),
            limits::TRANSACTION_TIMEOUT.as_millis() as u32,
        )?;
        let least_ms = limits::TRANSACTION_TIMEOUT_MIN.as_millis() as u32;
        if !(least_ms..=i32::MAX as u32).contains(&transaction_timeout_ms) {
            return Err(ConfigError::new(
                "transaction.timeout.ms",
                format!("{transaction_timeout_ms} is out of range; set at least {least_ms}"),
            ));
        }
        let commit_interval_ms: u32 = number(
            "commit.interval.ms",
            take("commit.interval.ms"),
            limits::COMMIT_INTERVAL.as_millis() as u32,
        )?;
        if commit_interval_ms > transaction_timeout_ms / limits::INTERVALS_PER_TIMEOUT {
            return Err(ConfigError::new(
                "commit.interval.ms",
                format!(
                    "{commit_interval_ms} is out of range; set at most a quarter of \
                     transaction.timeout.ms"
                ),
            ));
        }
        let is_paused = boolean("paused", take("paused").as_deref(), false)?;
        let topics = patterns("topics", take("topics"))?;
        if topics.is_empty() {
            return Err(ConfigError::new(
                "topics",
                "this key is required; set patterns of the topics to copy, such as [\"sensors.*\"]",
            ));
        }
        let excluded = patterns("topics.exclude", take("topics.exclude"))?;
        let selection =
            Selection::new(&topics, &excluded).map_err(|wrong| not_a_pattern("topics", wrong))?;
        let create = patterns("topics.create", take("topics.create"))?;
        let declared =
            declared(&create, &selection).map_err(|why| ConfigError::new("topics.create", why))?;
        let rename = rename(
            take("topics.prefix"),
            take("topics.suffix"),
            take("topics.rename"),
        )?;
        let configs_excluded = compiled(
            "config.properties.exclude",
            take("config.properties.exclude"),
            CONFIGS_EXCLUDED,
        )?;
        let syncs_configs = boolean(
            "sync.topic.configs.enabled",
            take("sync.topic.configs.enabled").as_deref(),
            true,
        )?;
        let keeps_offsets = boolean(
            "emit.offset-syncs.enabled",
            take("emit.offset-syncs.enabled").as_deref(),
            true,
        )?;
        let replication_factor = number("replication.factor", take("replication.factor"), -1)?;
        let window_bytes = number("buffer.memory", take("buffer.memory"), limits::WINDOW_BYTES)?;
        let request_bytes = number(
            "max.request.size",
            take("max.request.size"),
            limits::REQUEST_BYTES,
        )?;
        let mut packing = packing(take("batch.size"), take("compression.type").as_deref())?;
        let spending = Spending::take(&mut properties, packing.batch_bytes)?;
        if let Some(bytes) = spending.budget.bytes_per_s {
            // One batch takes no more than a second, and others get their turn.
            let most = (bytes as usize).max(limits::LINK_BATCH_BYTES_MIN);
            packing.batch_bytes = packing.batch_bytes.min(most);
        }
        let mut take = |key: &str| properties.remove(key);
        let linger_ms: u32 = number("linger.ms", take("linger.ms"), 0)?;
        let on_topic_recreated = match take("on.topic.recreated").as_deref().map(str::trim) {
            None | Some("append") => OnTopicRecreated::Append,
            Some("hold") => OnTopicRecreated::Hold,
            Some(other) => {
                return Err(ConfigError::new(
                    "on.topic.recreated",
                    format!("{other:?} is not valid; use append or hold"),
                ));
            }
        };
        let spreads = match take("partitioner").as_deref().map(str::trim) {
            None | Some("") => false,
            Some(MURMUR2) => true,
            Some(other) => {
                return Err(ConfigError::new(
                    "partitioner",
                    format!("{other:?} is not valid; use {MURMUR2}"),
                ));
            }
        };
        let held_after_ms = number(
            "delivery.timeout.ms",
            take("delivery.timeout.ms"),
            limits::HELD_AFTER.as_millis() as u64,
        )?;
        let filters = take("filter").unwrap_or_default();
        let filters = filter_names(&filters).map(str::to_owned).collect();
        let on_filter_error = match take("filter.on.error").as_deref().map(str::trim) {
            None | Some("fail-closed") => OnPluginError::FailClosed,
            Some("fail-open") => OnPluginError::FailOpen,
            Some("quarantine") => OnPluginError::Quarantine,
            Some(other) => {
                return Err(ConfigError::new(
                    "filter.on.error",
                    format!("{other:?} is not valid; use fail-closed, fail-open or quarantine"),
                ));
            }
        };
        let is_setting = |key: &String, _: &mut String| key.starts_with("plugin.");
        let settings = properties.extract_if(.., is_setting);
        let settings = settings.map(|(key, value)| (key["plugin.".len()..].to_owned(), value));
        let filter_settings = settings.collect();
        Ok(Self {
            filters,
            on_filter_error,
            filter_settings,
            name: table.name.clone(),
            mode,
            transactional_id,
            transaction_timeout: Duration::from_millis(transaction_timeout_ms.into()),
            commit_interval: Duration::from_millis(commit_interval_ms.into()),
            on_topic_recreated,
            spreads,
            held_after: Duration::from_millis(held_after_ms),
            client: client(&table.name, properties)?,
            selection,
            declared,
            rename,
            is_paused,
            direction,
            replication_factor,
            syncs_configs,
            configs_excluded,
            keeps_offsets,
            groups,
            window_bytes,
            request_bytes,
            packing,
            spending,
            linger: Duration::from_millis(linger_ms.into()),
        })
    }
}

fn client_id(link: &str) -> String {
    format!("sedge-mirror-{link}")
}

/// The remaining keys of the table are client keys.
fn client(link: &str, properties: BTreeMap<String, String>) -> Result<ClientConfig, ConfigError> {
    let mut defaults = properties;
    let ms = |duration: Duration| duration.as_millis().to_string();
    let backoff = ms(limits::RETRY_BACKOFF);
    let backoff_max = ms(limits::RETRY_BACKOFF_MAX);
    let api_timeout = ms(limits::API_TIMEOUT);
    for (key, value) in [
        ("client.id", client_id(link)),
        ("retry.backoff.ms", backoff),
        ("retry.backoff.max.ms", backoff_max),
        ("default.api.timeout.ms", api_timeout),
    ] {
        defaults.entry(key.to_owned()).or_insert(value);
    }
    ClientConfig::from_properties(&defaults)
}

fn rename(
    prefix: Option<String>,
    suffix: Option<String>,
    by_name: Option<String>,
) -> Result<Rename, ConfigError> {
    let by_name = patterns("topics.rename", by_name)?;
    let (prefix, suffix) = (prefix.unwrap_or_default(), suffix.unwrap_or_default());
    Rename::new(prefix.trim(), suffix.trim(), &by_name)
        .map_err(|(key, why)| ConfigError::new(key, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> LinkTable {
        let base = [
            ("bootstrap.servers", "h:9092"),
            ("topics", "sensors.*, alarms"),
        ];
        LinkTable {
            name: "hq".to_owned(),
            properties: base
                .iter()
                .chain(pairs)
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_table_with_defaults() {
        let config = LinkConfig::from_table(&table(&[])).unwrap();
        assert_eq!(config.name, "hq");
        assert_eq!(config.client.bootstrap_servers, ["h:9092"]);
        assert_eq!(config.client.client_id, "sedge-mirror-hq");
        let mut named = config.clone();
        named.identify("CLUSTER");
        assert_eq!(named.client.client_id, "sedge-mirror-hq-CLUSTER");
        assert!(config.selection.takes("alarms"));
        assert_eq!(config.replication_factor, -1);
        assert_eq!(config.mode, None);
        assert_eq!(config.transactional_id, None);
    }

    #[test]
    fn a_client_that_the_configuration_names_keeps_its_name() {
        let mut config = LinkConfig::from_table(&table(&[("client.id", "edge-7")])).unwrap();
        config.identify("CLUSTER");
        assert_eq!(config.client.client_id, "edge-7");
    }

    #[test]
    fn a_table_with_filters() {
        let config = LinkConfig::from_table(&table(&[
            ("filter", "redact, range"),
            ("filter.on.error", "fail-open"),
            ("plugin.range.max", "60"),
        ]));
        let config = config.unwrap();
        assert_eq!(config.filters, ["redact", "range"]);
        assert_eq!(config.on_filter_error, OnPluginError::FailOpen);
        let settings: Vec<_> = config.filter_settings.into_iter().collect();
        assert_eq!(settings, [("range.max".to_owned(), "60".to_owned())]);
    }

    #[test]
    fn a_pull_link_has_no_keys_of_a_push_link() {
        let pull = [("direction", "pull")];
        let config = LinkConfig::from_table(&table(&pull)).unwrap();
        assert_eq!(config.direction, Direction::Pull);
        let declared = [pull[0], ("topics.create", "alarms:2")];
        let config = LinkConfig::from_table(&table(&declared)).unwrap();
        assert_eq!(config.declared.len(), 1);
        let with = [pull[0], ("filter", "redact")];
        let error = LinkConfig::from_table(&table(&with)).unwrap_err();
        assert_eq!(error.key, "mirror.hq.filter");
    }

    #[test]
    fn what_does_not_work_is_refused_by_its_whole_name() {
        let check = |key: &str, value: &str| {
            let error = LinkConfig::from_table(&table(&[(key, value)])).unwrap_err();
            assert_eq!(error.key, format!("mirror.hq.{key}"), "{error}");
        };
        check("paused", "maybe");
        check("mode", "at-most-once");
        check("transaction.timeout.ms", "100");
        check("transaction.timeout.ms", "-1");
        check("commit.interval.ms", "20000");
        check("direction", "both");
        check("security.protocol", "TLS");
        check("ssl.keystore.place", "/x");
        check("sasl.mechanisms", "PLAIN");
        check("topics", "a(");
        check("topics", "");
        check("topics.create", "alarms:2");
        check("topics.prefix", "site 7.");
        check("topics.rename", "a:all, b:all");
        check("replication.factor", "many");
        check("sync.topic.configs.enabled", "often");
        check("config.properties.exclude", "a(");
        check("emit.offset-syncs.enabled", "2");
        check("groups", "a(");
        check("sync.group.offsets.interval.seconds", "0");
        check("on.topic.recreated", "drop");
        check("filter.on.error", "drop");
        check("delivery.timeout.ms", "soon");
        check("batch.size", "1000000");
        check("compression.type", "none");
        check("linger.ms", "-1");
        check("unknown.key", "1");
    }
}
