//! The keys of a mirror link and its state, as the configuration of its group: only there does
//! Kafka's protocol return keys and values for a group's name, so that `sedge mirror describe` and
//! Kafka's `kafka-configs` can ask for them.

use sedge_core::config::{ConfigType, Source};
use sedge_core::mirror;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_configs_response::DescribeConfigsResourceResult;
use serde_json::{Value, json};

use crate::config::keys;
use crate::handlers::Request;
use crate::handlers::request::LinkKey;
use crate::metrics::{Figures, Metrics};

/// Topics whose figures are shown, those with the largest lag.
const TOPICS_SHOWN_MAX: usize = 1000;

/// `ConfigResource.Type` on the wire.
pub const GROUP: i8 = 32;
/// A key that asks a request that only validates to return, as the message of its success, what the
/// link would do.
pub const PLAN: &str = "sedge.mirror.plan";
/// Prefix of all that is state, and not a key of the link.
pub const PREFIX: &str = "sedge.mirror.";
/// `running`, `idle`, `paused`, `connecting`, `backing-off`, `blocked` or `fenced`.
pub const STATE: &str = "sedge.mirror.state";
/// `exactly-once` or `at-least-once`, once it is known.
pub const MODE: &str = "sedge.mirror.mode";
/// The reason why the link does not run.
pub const WHY: &str = "sedge.mirror.why";
/// The number of partitions that are held and topics that were not begun.
pub const HELD: &str = "sedge.mirror.held";
/// What is not upstream yet and how fast it goes, as JSON.
pub const PROGRESS: &str = "sedge.mirror.progress";
/// Prefix of the name of a topic; the value is the same of the topic.
pub const TOPIC_PREFIX: &str = "sedge.mirror.topic.";
/// The last error of the upstream, as JSON: `why`, `at_ms` by the wall clock, and the milliseconds
/// until the next try, if the upstream has not answered since.
pub const ERROR: &str = "sedge.mirror.error";
/// What the link may still spend, as JSON; absent if nothing is limited.
pub const BUDGET: &str = "sedge.mirror.budget";
/// Prefix of the `TOPIC-INDEX` of a held partition; the value is the reason.
pub const HELD_PREFIX: &str = "sedge.mirror.held.";
/// Prefix of the name of a topic that was not begun; the value is the reason.
pub const NOT_BEGUN_PREFIX: &str = "sedge.mirror.not.begun.";
/// Prefix of the name of a topic that is copied and not kept in step; the value is the reason.
pub const NOTE_PREFIX: &str = "sedge.mirror.note.";

/// Returns the keys and the state of the link whose group this is; `None` if there is none.
pub fn describe(request: &Request, group: &str) -> Option<Vec<DescribeConfigsResourceResult>> {
    let name = group.strip_prefix(mirror::GROUP_PREFIX)?;
    let mut entries: Vec<_> = request.link_keys(name).into_iter().map(key).collect();
    match state(request.metrics(), name) {
        Some(state) => entries.extend(state),
        None if entries.is_empty() => return None,
        None => {}
    }
    Some(entries)
}

fn state(metrics: &Metrics, name: &str) -> Option<Vec<DescribeConfigsResourceResult>> {
    let links = metrics.links();
    let (_, link) = links.iter().find(|(known, _)| known == name)?;
    let state = link.state();
    let holds = link.holds();
    let mut entries = vec![
        entry(STATE, state.name()),
        entry(HELD, &link.held.get().to_string()),
    ];
    entries.extend(link.mode().map(|mode| entry(MODE, mode)));
    entries.extend(state.why().map(|why| entry(WHY, why)));
    let progress = link.progress();
    entries.push(entry(PROGRESS, &figures(&progress.link).to_string()));
    let topics = progress.topics.iter().take(TOPICS_SHOWN_MAX);
    entries.extend(topics.map(|(topic, of)| {
        let name = format!("{TOPIC_PREFIX}{topic}");
        entry(&name, &figures(of).to_string())
    }));
    entries.extend(link.failure().map(|failure| {
        let wait_ms = failure.wait().map(|wait| wait.as_millis() as u64);
        let of = json!({"why": failure.why, "at_ms": failure.at_ms, "next_try_in_ms": wait_ms});
        entry(ERROR, &of.to_string())
    }));
    entries.extend(link.budget().map(|budget| {
        let waits = budget.waits_for;
        let of = json!({
            "day_left_bytes": budget.day_left_bytes,
            "month_left_bytes": budget.month_left_bytes,
            "waits_for": waits.as_ref().map(|(limit, _)| limit),
            "opens_in_ms": waits.as_ref().map(|(_, wait_ms)| wait_ms),
            "late_records": link.late.get(),
        });
        entry(BUDGET, &of.to_string())
    }));
    let held = holds.partitions.iter();
    entries.extend(held.map(|(what, why)| entry(&format!("{HELD_PREFIX}{what}"), why)));
    let topics = holds.topics.iter();
    entries.extend(topics.map(|(what, why)| entry(&format!("{NOT_BEGUN_PREFIX}{what}"), why)));
    let notes = holds.notes.iter();
    entries.extend(notes.map(|(what, why)| entry(&format!("{NOTE_PREFIX}{what}"), why)));
    Some(entries)
}

fn figures(of: &Figures) -> Value {
    json!({
        "lag_records": of.lag_records,
        "lag_bytes": of.lag_bytes,
        "lag_ms": of.lag_ms,
        "records_per_s": rounded(of.records_per_s),
        "bytes_per_s": rounded(of.bytes_per_s),
        "catches_up_in_s": of.catches_up_in_s.map(rounded),
    })
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Describes a key. A secret has no value.
fn key(key: LinkKey) -> DescribeConfigsResourceResult {
    let is_secret = keys::is_secret(&key.name);
    let value = (!is_secret).then(|| KafkaString::from(key.value.to_string()));
    let source = if key.is_in_file {
        Source::StaticBroker
    } else {
        Source::Group
    };
    DescribeConfigsResourceResult::default()
        .with_name(KafkaString::from(key.name))
        .with_value(value)
        .with_read_only(key.is_in_file)
        .with_is_sensitive(is_secret)
        .with_config_source(source.wire())
        .with_config_type(ConfigType::String.wire())
}

fn entry(name: &str, value: &str) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(KafkaString::from(name.to_owned()))
        .with_value(Some(KafkaString::from(value.to_owned())))
        .with_read_only(true)
        .with_config_source(Source::StaticBroker.wire())
        .with_config_type(ConfigType::String.wire())
}
