//! What a step of a group depends on besides the group.

use crate::groups::config::GroupConfig;
use crate::machine::Now;
use crate::metadata::Image;

/// What a step depends on besides the group.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub now: Now,
    pub config: &'a GroupConfig,
    pub image: &'a Image,
    /// The coordinator's number of the metadata: another number, other topics.
    pub topics_number: u64,
    /// Whether the client may see a topic that its regular expression matches. `None` if the
    /// expressions are not to be resolved for this client.
    pub may_describe: Option<&'a dyn Fn(&str) -> bool>,
}
