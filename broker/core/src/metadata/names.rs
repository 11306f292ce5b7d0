//! What a topic may be called (Kafka's `Topic.validate`).

use alloc::format;
use alloc::string::String;

use sedge_protocol::ErrorCode;

use super::CommandError;

/// Kafka's limit: a name and a partition number fit into a file name.
pub const NAME_BYTES_MAX: usize = 249;

/// # Errors
/// INVALID_TOPIC_EXCEPTION, with what is wrong.
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

/// The log of the metadata has no topic, so that a topic of its name would stand beside it.
///
/// # Errors
/// INVALID_REQUEST, as Kafka's controller says.
pub fn check_not_the_log_of_metadata(name: &str) -> Result<(), CommandError> {
    if name == "__cluster_metadata" {
        return Err(CommandError::new(
            ErrorCode::InvalidRequest,
            format!("Creation of internal topic {name} is prohibited."),
        ));
    }
    Ok(())
}

/// Two names with the same form would have the same metrics in Kafka, so only one may exist.
pub fn collision_form(name: &str) -> String {
    name.replace('.', "_")
}

/// Where deployed plugins live.
pub const PLUGINS_TOPIC: &str = "__sedge_plugins";

/// Topics that the broker keeps its own state in.
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state" | PLUGINS_TOPIC
    )
}

/// Whether clients may produce to the topic. Deploying a plugin is producing.
pub fn takes_produce(name: &str) -> bool {
    !is_internal(name) || name == PLUGINS_TOPIC
}
