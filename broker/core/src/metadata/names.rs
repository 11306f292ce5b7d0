//! Checks topic names (Kafka's `Topic.validate`).

use alloc::format;
use alloc::string::String;

use sedge_protocol::ErrorCode;

use super::CommandError;

/// Kafka's limit: a name and a partition number fit into a file name.
pub const NAME_BYTES_MAX: usize = 249;

/// Checks a topic name.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION with the reason.
pub fn check(name: &str) -> Result<(), CommandError> {
    let wrong = if name.is_empty() {
        Some("is empty")
    } else if name == "." || name == ".." {
        Some("is '.' or '..'")
    } else if name.len() > NAME_BYTES_MAX {
        Some("is longer than 249 characters")
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        Some("has a character other than ASCII letters, digits, '.', '_' and '-'")
    } else {
        None
    };
    match wrong {
        None => Ok(()),
        Some(what) => Err(CommandError::new(
            ErrorCode::InvalidTopicException,
            format!(
                "The topic name '{}' {what}.",
                name.chars().take(64).collect::<String>()
            ),
        )),
    }
}

/// Refuses the name of the metadata log, which is not a topic: a topic of that name would exist
/// beside it.
///
/// # Errors
/// INVALID_REQUEST, as Kafka's controller answers.
pub fn check_not_the_log_of_metadata(name: &str) -> Result<(), CommandError> {
    if name == "__cluster_metadata" {
        return Err(CommandError::new(
            ErrorCode::InvalidRequest,
            format!("Creation of internal topic {name} is prohibited."),
        ));
    }
    Ok(())
}

/// Returns the form in which colliding names are equal. Two names with the same form would have the
/// same metrics in Kafka, so only one may exist.
pub fn collision_form(name: &str) -> String {
    name.replace('.', "_")
}

/// The topic that stores deployed plugins.
pub const PLUGINS_TOPIC: &str = "__sedge_plugins";

/// The topic that stores what filters remember.
pub const STATE_TOPIC: &str = "__sedge_plugin_state";

/// The topic that stores what gateways know of their devices.
pub const GATEWAY_TOPIC: &str = "__sedge_gateway";

/// The topic that stores which offset upstream a link gave to a record.
pub const OFFSETS_TOPIC: &str = "__sedge_mirror_offsets";

/// Returns whether the broker keeps its own state in the topic.
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets"
            | "__transaction_state"
            | "__share_group_state"
            | PLUGINS_TOPIC
            | STATE_TOPIC
            | GATEWAY_TOPIC
            | OFFSETS_TOPIC
    )
}

/// Returns whether clients may produce to the topic. Deploying a plugin is producing.
pub fn takes_produce(name: &str) -> bool {
    !is_internal(name) || name == PLUGINS_TOPIC
}
