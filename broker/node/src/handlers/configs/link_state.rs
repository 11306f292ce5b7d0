//! The state of a mirror link, as the configuration of its group: only there does Kafka's protocol
//! return keys and values for a group's name, so that `sedge mirror describe` and Kafka's
//! `kafka-configs` can ask for it.

use sedge_core::config::{ConfigType, Source};
use sedge_core::mirror;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_configs_response::DescribeConfigsResourceResult;

use crate::metrics::Metrics;

/// `ConfigResource.Type` on the wire.
pub const GROUP: i8 = 32;
/// `running`, `connecting`, `backing-off` or `blocked`.
pub const STATE: &str = "sedge.mirror.state";
/// The reason why the link does not run.
pub const WHY: &str = "sedge.mirror.why";
/// The number of partitions that are held and topics that were not begun.
pub const HELD: &str = "sedge.mirror.held";
/// Prefix of the `TOPIC-INDEX` of a held partition; the value is the reason.
pub const HELD_PREFIX: &str = "sedge.mirror.held.";
/// Prefix of the name of a topic that was not begun; the value is the reason.
pub const NOT_BEGUN_PREFIX: &str = "sedge.mirror.not.begun.";

/// Returns the state of the link whose group this is; `None` if there is none.
pub fn describe(metrics: &Metrics, group: &str) -> Option<Vec<DescribeConfigsResourceResult>> {
    let name = group.strip_prefix(mirror::GROUP_PREFIX)?;
    let links = metrics.links();
    let (_, link) = links.iter().find(|(known, _)| known == name)?;
    let state = link.state();
    let holds = link.holds();
    let mut entries = vec![
        entry(STATE, state.name()),
        entry(HELD, &link.held.get().to_string()),
    ];
    entries.extend(state.why().map(|why| entry(WHY, why)));
    let held = holds.partitions.iter();
    entries.extend(held.map(|(what, why)| entry(&format!("{HELD_PREFIX}{what}"), why)));
    let topics = holds.topics.iter();
    entries.extend(topics.map(|(what, why)| entry(&format!("{NOT_BEGUN_PREFIX}{what}"), why)));
    Some(entries)
}

fn entry(name: &str, value: &str) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(KafkaString::from(name.to_owned()))
        .with_value(Some(KafkaString::from(value.to_owned())))
        .with_read_only(true)
        .with_config_source(Source::StaticBroker.wire())
        .with_config_type(ConfigType::String.wire())
}
