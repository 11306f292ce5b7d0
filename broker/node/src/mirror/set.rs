//! The set of links: those of the configuration file, and those made while the broker runs, which
//! the metadata has as configurations of their groups. The set follows each change of the metadata.
//!
//! A link whose keys change is stopped in order and started anew: it continues at its cursors. If
//! the keys cannot be used any more, because a file that they name is gone, that link alone is
//! blocked, and looked at again from time to time.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use async_executor::Task;
use async_io::Timer;
use futures_lite::FutureExt;
use sedge_core::metadata::{GroupConfig, GroupConfigs};
use sedge_core::mirror::GROUP_PREFIX;

use crate::config::{Direction, LinkConfig, at_run_time};
use crate::metrics::LinkState;

use super::{Local, limits, link, pull};

/// The key of [`LinkConfig::is_paused`], the only one of a link of the file that can be set while
/// the broker runs.
pub const PAUSED_KEY: &str = "paused";

/// The task that keeps the set.
pub(super) struct Set {
    local: Local,
    in_file: BTreeMap<String, LinkConfig>,
    links: BTreeMap<String, Member>,
    /// The configurations of groups that the links were started by.
    seen: Option<Arc<GroupConfigs>>,
}

/// A link, and what it was made by.
struct Member {
    keys: GroupConfig,
    /// `None` if the keys cannot be used.
    running: Option<Running>,
}

struct Running {
    task: Task<()>,
    stop: Sender<()>,
}

impl Set {
    pub fn new(local: Local, in_file: &[LinkConfig]) -> Self {
        let in_file = in_file.iter().cloned();
        Self {
            local,
            in_file: in_file.map(|link| (link.name.clone(), link)).collect(),
            links: BTreeMap::new(),
            seen: None,
        }
    }

    /// Starts and stops links until the broker stops, and then stops all.
    pub async fn keep(mut self, stopping: Receiver<()>) {
        loop {
            // Listens before it looks, so that no change is missed in between.
            let changed = self.local.log.image_changed();
            let groups = Arc::clone(self.local.log.metadata.load().group_configs());
            self.follow(&groups).await;
            let stop = async {
                let _ = stopping.recv().await;
                true
            };
            let change = async {
                changed.await;
                false
            };
            let is_broken = self.links.values().any(|link| link.running.is_none());
            let again = async {
                if is_broken {
                    Timer::after(limits::RECHECK_EVERY).await;
                } else {
                    std::future::pending::<()>().await;
                }
                false
            };
            if stop.or(change).or(again).await {
                break;
            }
        }
        let running = self.links.into_values().filter_map(|link| link.running);
        let running: Vec<Running> = running.collect();
        running.iter().for_each(Running::ask_to_stop);
        for link in running {
            link.task.await;
        }
    }

    async fn follow(&mut self, groups: &Arc<GroupConfigs>) {
        let is_same = |seen: &Arc<GroupConfigs>| Arc::ptr_eq(seen, groups);
        if !self.seen.as_ref().is_some_and(is_same) {
            self.seen = Some(Arc::clone(groups));
            self.warn_of_doubles(groups);
            self.stop_changed(groups).await;
        }
        for (name, keys) in self.wanted(groups) {
            let is_broken = |link: &Member| link.running.is_none();
            if self.links.get(&name).is_none_or(is_broken) {
                self.start(name, keys);
            }
        }
    }

    /// Returns the names of the links that should exist, with their keys in the metadata.
    fn wanted(&self, groups: &GroupConfigs) -> BTreeMap<String, GroupConfig> {
        let mut wanted: BTreeMap<String, GroupConfig> = links(groups)
            .map(|(name, keys)| (name.to_owned(), keys.clone()))
            .collect();
        for name in self.in_file.keys() {
            let keys = wanted.entry(name.clone()).or_default();
            keys.retain(|key, _| key == PAUSED_KEY);
        }
        // What is left of a link that the file does not have any more.
        wanted.retain(|name, keys| {
            self.in_file.contains_key(name) || keys.keys().any(|key| key != PAUSED_KEY)
        });
        wanted
    }

    fn warn_of_doubles(&self, groups: &GroupConfigs) {
        for (name, keys) in links(groups) {
            let is_whole = keys.keys().any(|key| key != PAUSED_KEY);
            if is_whole && self.in_file.contains_key(name) && !self.links.contains_key(name) {
                log::warn!(
                    target: "sedge::mirror",
                    "{name}: the configuration file has a link of this name, so that the one made \
                     by `sedge mirror create` does not run; rename the one in the file"
                );
            }
        }
    }

    /// Stops the links that are gone or changed.
    async fn stop_changed(&mut self, groups: &GroupConfigs) {
        let wanted = self.wanted(groups);
        let is_changed = |(name, link): &(&String, &Member)| wanted.get(*name) != Some(&link.keys);
        let changed = self.links.iter().filter(is_changed);
        let changed: Vec<String> = changed.map(|(name, _)| name.clone()).collect();
        for name in changed {
            if let Some(running) = self.links.remove(&name).and_then(|link| link.running) {
                running.ask_to_stop();
                // A link that waits for an upstream may not stop at once; it must not hold up the
                // others.
                let over = async {
                    Timer::after(limits::STOP_GRACE).await;
                };
                running.task.or(over).await;
            }
            self.local.log.metrics.forget_link(&name);
            if !wanted.contains_key(&name) {
                log::info!(target: "sedge::mirror", "{name}: deleted; its cursors are kept");
            }
        }
    }

    fn start(&mut self, name: String, keys: GroupConfig) {
        // A broker without links opens no socket for them.
        self.local.network.watch(&self.local.runtime);
        let config = match self.in_file.get(&name) {
            Some(config) => Ok(LinkConfig {
                is_paused: keys
                    .get(PAUSED_KEY)
                    .map_or(config.is_paused, |value| value == "true"),
                ..config.clone()
            }),
            None => at_run_time(&name, &keys),
        };
        let running = match config {
            Ok(mut config) => {
                config.identify(&self.local.cluster_id);
                let (stop, stopping) = async_channel::bounded(1);
                let metrics = self.local.log.metrics.link(&name);
                let (local, runtime) = (self.local.clone(), &self.local.runtime);
                let task = match config.direction {
                    Direction::Push => {
                        runtime.spawn(link::Link::new(local, config, metrics, stopping).run())
                    }
                    Direction::Pull => {
                        runtime.spawn(pull::Pull::new(local, config, metrics, stopping).run())
                    }
                };
                Some(Running { task, stop })
            }
            Err(error) => {
                if !self.links.contains_key(&name) {
                    log::error!(
                        target: "sedge::mirror",
                        "{name}: the link cannot run: {error}; change that key with \
                         `sedge mirror alter {name}`"
                    );
                }
                let why = error.to_string();
                let metrics = self.local.log.metrics.link(&name);
                metrics.set_state(LinkState::Blocked { why });
                None
            }
        };
        self.links.insert(name, Member { keys, running });
    }
}

impl Running {
    fn ask_to_stop(&self) {
        self.stop.close();
    }
}

/// Returns the links of the metadata, by name.
pub(super) fn links(groups: &GroupConfigs) -> impl Iterator<Item = (&str, &GroupConfig)> {
    let all = groups.iter();
    all.filter_map(|(group, keys)| Some((group.strip_prefix(GROUP_PREFIX)?, keys)))
}
