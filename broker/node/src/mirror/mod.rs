//! The mirror: links that copy topics to an upstream Kafka of any vendor, or from one.
//! What is said here is about those that push; [`pull`] has the others.
//!
//! [`sedge_core::mirror`] decides what to read, what an answer means and when to retry. This module
//! has the sockets, the reads of the log, the upstream's topics and the storage of cursors.
//! [`LinkConfig`] is a link's configuration.
//!
//! | module | contents |
//! | --- | --- |
//! | `set` | the links that run: those of the file, and those of the metadata |
//! | `cursors` | committed offsets of the group `sedge-mirror-NAME`, so that Kafka's tools show the lag |
//! | `upstream` | the upstream's topics: created, and extended by partitions |
//! | `lanes` | batches queued for each upstream broker |
//! | `link`, `answers` | the task that runs a link, and what it makes of the upstream's answers |
//! | `reads` | reads what a link sends |
//! | `transactions`, `session` | the transactions of an exactly-once link, and the cursors upstream |
//! | `configs` | keeps the configuration of upstream topics in step |
//! | `sides` | matches the topics of both sides |
//! | `offsets`, `offset_log` | which offset upstream each record has, and the topic that stores it |
//! | `groups` | keeps the offsets of consumer groups in step on both sides |
//! | `origins`, `marks` | where a topic's records come from: refuses loops |
//! | `plan` | what a link would do |
//! | `books` | a link's cursors |
//! | `measure`, `paces` | a link's figures |
//! | `holds` | what a link holds, and what to do about it |
//! | `network` | tells that the device's network may be back |
//! | `spending` | what a link has spent of its budget |
//! | `pause` | why a link stops copying |
//! | `pull` | links in the other direction, whose topics have the offsets of the upstream |
//!
//! A batch with holes from compaction is rebuilt without them, and a batch of a `LogAppendTime`
//! topic with the append time, which consumers here see. What the link's filters leave out is not
//! sent. Topics upstream get the same number of partitions and the same configuration, except for
//! the keys of `config.properties.exclude`, and are kept in step.
//!
//! **Invariant:** a link reads below the high watermark and writes nothing locally but its cursors:
//! an upstream that is down affects neither produce nor readiness.
//! **Invariant:** a link needs no listener of this broker: its cursors go to the coordinator in
//! process ([`cursors`]).
//! **Invariant:** a cursor is committed after the upstream has acknowledged the records below it.
//! An exactly-once link commits it upstream, with these records (`transactions`); the commit here
//! follows. Without transactions, records acknowledged after the last commit before a crash are
//! sent again (at least once).

mod answers;
mod books;
mod configs;
mod cursors;
mod groups;
mod holds;
mod lanes;
pub mod limits;
mod link;
mod marks;
mod measure;
mod network;
mod offset_log;
mod offsets;
mod origins;
mod paces;
mod pause;
mod plan;
mod pull;
mod reads;
mod session;
mod set;
mod sides;
mod spending;
mod transactions;
mod upstream;

use std::sync::Arc;

use async_channel::Sender;
use async_executor::Task;
use async_io::Timer;
use futures_lite::FutureExt;
use sedge_core::metadata::{GroupConfig, GroupConfigs};

use crate::config::{Direction, LinkConfig, Selection};
use crate::coordinator::Groups;
use crate::log::Log;
use crate::plugins::Plugins;
use crate::process::runtime::Runtime;
use crate::writer::Writer;

use set::Set;

pub(crate) use cursors::Origin;
pub use network::Network;
pub use set::PAUSED_KEY;

/// Returns the group in which a link's cursors are committed.
pub fn group_of(link: &str) -> String {
    format!("{}{link}", sedge_core::mirror::GROUP_PREFIX)
}

/// Begins the names of the groups that have what links have spent.
const BUDGET_PREFIX: &str = "sedge-budget-";

/// Returns the group in which is committed what a link has spent of its budget.
fn budget_group_of(link: &str) -> String {
    format!("{BUDGET_PREFIX}{link}")
}

/// The topics that a link copies, and the group that stores its progress.
#[derive(Debug)]
pub struct LinkTopics {
    pub group: String,
    selection: Selection,
}

impl LinkTopics {
    /// Returns the topics of all push links: those of the configuration, and those made while the
    /// broker runs.
    pub fn all(in_file: &[LinkConfig], groups: &GroupConfigs) -> Vec<Self> {
        let is_push = |keys: &GroupConfig| keys.get("direction").is_none_or(|it| it != "pull");
        let is_in_file = |name: &str| in_file.iter().any(|link| link.name == name);
        let made = set::links(groups).filter(|(name, keys)| !is_in_file(name) && is_push(keys));
        let made = made.filter_map(|(name, keys)| Some((name, Selection::of(keys)?)));
        let in_file = in_file
            .iter()
            .filter(|link| link.direction == Direction::Push)
            .map(|link| (link.name.as_str(), link.selection.clone()));
        in_file
            .chain(made)
            .map(|(name, selection)| Self {
                group: group_of(name),
                selection,
            })
            .collect()
    }

    pub fn takes(&self, topic: &str) -> bool {
        self.selection.takes(topic)
    }
}

/// The local broker, as links see it.
#[derive(Clone, Debug)]
pub struct Local {
    pub log: Arc<Log>,
    /// The group coordinator, for committing cursors.
    pub groups: Arc<Groups>,
    pub runtime: Runtime,
    pub cluster_id: String,
    /// For the filters of links.
    pub plugins: Arc<Plugins>,
    /// For what pull links write.
    pub writer: Writer,
    /// Tells that the network may be back.
    pub network: Network,
}

/// Returns what a link of this configuration would do, as JSON. Connects to the upstream, and
/// changes nothing.
pub async fn plan(local: &Local, mut config: LinkConfig) -> String {
    config.identify(&local.cluster_id);
    let (_, stopping) = async_channel::bounded(1);
    // A task of its own, as a link is: the future is too large for a request's.
    let plan = if config.direction == Direction::Pull {
        let link = pull::Pull::new(local.clone(), config, Arc::default(), stopping);
        local.runtime.spawn(Box::pin(link.plan()))
    } else {
        let link = link::Link::new(local.clone(), config, Arc::default(), stopping);
        local.runtime.spawn(Box::pin(link.plan()))
    };
    plan.await.to_string()
}

/// The running links. Dropping it ends them at once.
#[derive(Debug)]
pub struct Mirror {
    set: Task<()>,
    stop: Sender<()>,
}

impl Mirror {
    /// Starts the links of the configuration and of the metadata.
    pub fn start(in_file: &[LinkConfig], local: &Local) -> Self {
        let (stop, stopping) = async_channel::bounded(1);
        let set = Set::new(local.clone(), in_file);
        let set = local.runtime.spawn(set.keep(stopping));
        Self { set, stop }
    }

    /// Stops the links in order: acknowledged records are committed, so that they are not sent
    /// again.
    pub async fn stop(self) {
        self.stop.close();
        let over = async {
            Timer::after(limits::STOP_GRACE).await;
        };
        self.set.or(over).await;
    }
}
