//! The mirror: links that copy topics to an upstream Kafka of any vendor.
//!
//! What to read, what an answer means and when to try again is decided by [`sedge_core::mirror`];
//! here are the sockets, the reads of the log, the upstream's topics and the places where cursors
//! are kept. What a link is told is in [`LinkConfig`].
//!
//! | module | what |
//! | --- | --- |
//! | `cursors` | committed offsets of the group `sedge-mirror-NAME`, so that Kafka's tools show the lag |
//! | `upstream` | the topics on the other side: created, grown |
//! | `lanes` | batches on their way to each upstream broker |
//! | `link` | the task that runs a link |
//! | `sides` | both sides' topics brought together |
//! | `books` | its cursors and metrics |
//! | `holds` | what does not get on, and what to do about it |
//!
//! **Invariant:** a link reads below the high watermark and writes nothing here but its cursors: an
//! upstream that is down touches neither produce nor readiness.
//! **Invariant:** a link needs no listener of this broker: its cursors go to the coordinator in
//! process ([`cursors`]).
//! **Invariant:** a cursor is committed after the upstream has acknowledged what is below it. What
//! was acknowledged after the last commit before a crash is sent again (at least once).

mod books;
mod cursors;
mod holds;
mod lanes;
pub mod limits;
mod link;
mod sides;
mod upstream;

use std::sync::Arc;

use async_channel::Sender;
use async_executor::Task;
use async_io::Timer;
use futures_lite::FutureExt;

use crate::config::{LinkConfig, Selection};
use crate::coordinator::Groups;
use crate::log::Log;
use crate::process::runtime::Runtime;

pub(crate) use cursors::Origin;

/// The group under which a link's cursors are committed.
pub fn group_of(link: &str) -> String {
    format!("{}{link}", sedge_core::mirror::GROUP_PREFIX)
}

/// What a link copies, and the group that says how far it got.
#[derive(Debug)]
pub struct LinkTopics {
    pub group: String,
    selection: Selection,
}

impl LinkTopics {
    pub fn of(config: &LinkConfig) -> Self {
        Self {
            group: group_of(&config.name),
            selection: config.selection.clone(),
        }
    }

    pub fn takes(&self, topic: &str) -> bool {
        self.selection.takes(topic)
    }
}

/// This broker as links see it.
#[derive(Clone, Debug)]
pub struct Local {
    pub log: Arc<Log>,
    /// Where cursors are committed.
    pub groups: Arc<Groups>,
    pub runtime: Runtime,
    pub cluster_id: String,
}

/// The links that run. Dropping it ends them at once.
#[derive(Debug)]
pub struct Mirror {
    links: Vec<Task<()>>,
    stop: Sender<()>,
}

impl Mirror {
    /// Starts a task a link.
    pub fn start(links: &[LinkConfig], local: &Local) -> Self {
        let (stop, stopping) = async_channel::bounded(1);
        let links = links.iter().map(|config| {
            let link = link::Link::new(local.clone(), config.clone(), stopping.clone());
            local.runtime.spawn(link.run())
        });
        Self {
            links: links.collect(),
            stop,
        }
    }

    /// Ends the links in order: what was acknowledged is committed, so that it is not sent again.
    pub async fn stop(self) {
        self.stop.close();
        let ended = async {
            for link in self.links {
                link.await;
            }
        };
        let over = async {
            Timer::after(limits::STOP_GRACE).await;
        };
        ended.or(over).await;
    }
}
