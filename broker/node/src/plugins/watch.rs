//! Follows `__sedge_plugins`: its content at the start, then each change, including the deletion
//! and re-creation of the topic.

use std::sync::Arc;

use async_io::Timer;
use futures_lite::future;
use log::warn;
use sedge_core::metadata::PLUGINS_TOPIC as TOPIC;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Error;

use super::{Plugins, Since, TELL_EVERY, changes};
use crate::limits::PLUGIN_TRIAL_CHECK_EVERY;
use crate::log::Log;
use crate::writer::Writer;

/// Loads the deployed plugins. Blocks while it compiles; called before clients are served, so that
/// no batch bypasses a filter.
///
/// # Errors
/// The topic cannot be read.
pub fn start(plugins: &Plugins, log: &Log) -> Result<(), Error> {
    plugins.read_on(log)?;
    plugins.settle(log, Since::Start);
    Ok(())
}

/// Applies changes as they come, until the task is dropped.
pub async fn run(plugins: Arc<Plugins>, log: Arc<Log>, writer: Writer) {
    let follower = log.follower();
    loop {
        let grown = follower.listen();
        let changed = log.image_changed();
        if let Some(Ok(partition)) = partition(&log).map(|id| log.partition(id)) {
            partition.add_follower(&follower);
        }
        if plugins.is_behind(&log) {
            apply_off_executor(&plugins, &log).await;
            plugins.sweep(&log, &writer).await;
        }
        while changes::write_next(&plugins, &log, &writer).await {
            apply_off_executor(&plugins, &log).await;
        }
        let trial = async {
            if !plugins.has_trials() {
                future::pending::<()>().await;
            }
            Timer::after(PLUGIN_TRIAL_CHECK_EVERY).await;
        };
        future::or(future::or(grown, changed), trial).await;
    }
}

/// Drops filters that are no longer bound, and the state of deleted topics, until the task is
/// dropped.
pub async fn release(plugins: Arc<Plugins>, log: Arc<Log>, writer: Writer) {
    loop {
        let changed = log.image_changed();
        plugins.release(&log);
        plugins.sweep(&log, &writer).await;
        changed.await;
    }
}

/// Logs summaries of what filters drop and refuse, and removes state that a full disk kept, until
/// the task is dropped.
pub async fn tell(plugins: Arc<Plugins>, log: Arc<Log>, writer: Writer) {
    loop {
        Timer::after(TELL_EVERY).await;
        plugins.tell();
        plugins.sweep(&log, &writer).await;
    }
}

async fn apply_off_executor(plugins: &Arc<Plugins>, log: &Arc<Log>) {
    let (plugins, log) = (Arc::clone(plugins), Arc::clone(log));
    blocking::unblock(move || apply(&plugins, &log)).await;
}

/// Reads what is new, and loads it. Blocks while it compiles.
pub fn apply(plugins: &Plugins, log: &Log) {
    if let Err(error) = plugins.read_on(log) {
        warn!(target: "sedge::plugin", "{TOPIC} cannot be read: {error}");
    }
    plugins.settle(log, Since::Now);
}

/// Returns the topic's partition.
pub fn partition(log: &Log) -> Option<PartitionId> {
    log.metadata.load().topic(TOPIC)?.partition(0)
}

/// Returns the topic's partition, and its end for readers.
pub fn end(log: &Log) -> Option<(PartitionId, Offset)> {
    let id = partition(log)?;
    let partition = log.partition(id).ok()?;
    Some((id, partition.high_watermark()))
}

#[cfg(test)]
mod tests {
    use sedge_core::config::BrokerDefaults;
    use sedge_core::machine::{Machine as _, Now};
    use sedge_core::metadata::{Command, MetadataMachine};
    use sedge_protocol::ids::NodeId;

    use super::*;
    use crate::test_broker::TestBroker;
    use sedge_protocol::plugin_records::{Change, batch_of};

    fn change(node: &TestBroker, name: &str, content: Option<&[u8]>) {
        let timestamp_ms = 1_795_311_182_000;
        let change = Change::of(name, content, timestamp_ms);
        node.write_past(node.partition(TOPIC), batch_of(&change).unwrap());
    }

    fn deployed(node: &TestBroker) -> Vec<String> {
        let plugins = &node.broker.plugins;
        let all = ["one", "two", "three"].into_iter();
        let known = all.filter(|name| plugins.registry.place(name).is_some());
        known.map(str::to_owned).collect()
    }

    /// Creates a topic, as the controller would.
    fn create(machine: &mut MetadataMachine, name: &str, partitions: i32) {
        let command = Command::CreateTopic {
            name: name.to_owned(),
            id: crate::process::random::random_uuid(),
            partitions,
            configs: Vec::new(),
            validate_only: false,
        };
        for record in machine.plan(Now::default(), command).unwrap().records {
            machine.apply(Offset::ZERO, &record);
        }
    }

    /// Applies pending changes, as the task does.
    fn follow(node: &TestBroker) {
        assert!(node.broker.plugins.is_behind(&node.broker.log));
        apply(&node.broker.plugins, &node.broker.log);
        assert!(!node.broker.plugins.is_behind(&node.broker.log));
    }

    #[test]
    fn a_plugin_topic_that_is_made_again_is_read_from_its_start() {
        let node = TestBroker::start(&[]);
        start(&node.broker.plugins, &node.broker.log).unwrap();
        node.create_topic(TOPIC, &[]);
        change(&node, "one", Some(b"no component"));
        change(&node, "two", Some(b"none either"));
        follow(&node);
        assert_eq!(deployed(&node), ["one", "two"]);
        let before = node.broker.plugins.registry.place("one");

        // Clients cannot delete the topic; a version that allowed it may have written this
        // metadata.
        let mut machine = MetadataMachine::new(NodeId(1), BrokerDefaults::default());
        create(&mut machine, "others", 5);
        node.broker
            .log
            .metadata
            .publish(Arc::new(machine.image().clone()));
        follow(&node);
        assert_eq!(deployed(&node), [""; 0], "no topic, no plugins");

        create(&mut machine, TOPIC, 1);
        node.broker
            .log
            .metadata
            .publish(Arc::new(machine.image().clone()));
        change(&node, "one", Some(b"no component"));
        change(&node, "three", Some(b"gone at once"));
        change(&node, "three", None);
        follow(&node);
        assert_eq!(deployed(&node), ["one"]);
        let after = node.broker.plugins.registry.place("one");
        assert_ne!(before, after, "at the same offset, and another deployment");
    }

    #[test]
    fn what_is_deployed_at_a_start_is_there_before_clients_are() {
        let mut node = TestBroker::start(&[]);
        node.create_topic(TOPIC, &[]);
        change(&node, "one", Some(b"no component"));
        change(&node, "two", Some(b"none either"));
        change(&node, "two", None);
        node = node.restart(false);
        start(&node.broker.plugins, &node.broker.log).unwrap();
        assert_eq!(deployed(&node), ["one"]);
    }
}
