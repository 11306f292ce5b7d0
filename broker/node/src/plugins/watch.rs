//! Follows `__sedge_plugins`: what is there at the start, then each change, and the topic itself
//! where it is deleted or created again.

use std::sync::Arc;

use async_io::Timer;
use futures_lite::future;
use log::warn;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Error;

use super::TELL_EVERY;
use crate::broker::Broker;
use crate::plugin_topic::TOPIC;

/// Makes ready what is deployed. Blocks while it compiles; called before clients are served, so
/// that no batch passes by a filter.
///
/// # Errors
/// The topic cannot be read.
pub fn start(broker: &Broker) -> Result<(), Error> {
    broker.plugins.read_on(broker)?;
    broker.plugins.settle(broker);
    Ok(())
}

/// Takes changes as they come, until the task is dropped.
pub async fn run(broker: Arc<Broker>) {
    loop {
        let grown = broker.listen_for_growth();
        let changed = broker.metadata.listen();
        if broker.plugins.is_behind(&broker) {
            let applying = Arc::clone(&broker);
            blocking::unblock(move || apply(&applying)).await;
        }
        future::or(grown, changed).await;
    }
}

/// Lets filters go that are bound no more, until the task is dropped.
pub async fn release(broker: Arc<Broker>) {
    loop {
        let changed = broker.metadata.listen();
        broker.plugins.release(&broker);
        changed.await;
    }
}

/// Tells in the log what filters drop and refuse, until the task is dropped.
pub async fn tell(broker: Arc<Broker>) {
    loop {
        Timer::after(TELL_EVERY).await;
        broker.plugins.tell();
    }
}

fn apply(broker: &Broker) {
    if let Err(error) = broker.plugins.read_on(broker) {
        warn!(target: "sedge::plugin", "{TOPIC} cannot be read: {error}");
    }
    broker.plugins.settle(broker);
}

/// The topic's partition.
pub fn partition(broker: &Broker) -> Option<PartitionId> {
    broker.metadata.load().topic(TOPIC)?.partition(0)
}

/// The topic's partition, and where it ends for readers.
pub fn end(broker: &Broker) -> Option<(PartitionId, Offset)> {
    let id = partition(broker)?;
    let partition = broker.partitions.get(&*broker.store, id).ok()?;
    Some((id, partition.high_watermark()))
}

#[cfg(test)]
mod tests {
    use sedge_core::config::BrokerDefaults;
    use sedge_core::machine::{Machine as _, Now};
    use sedge_core::metadata::{Command, MetadataMachine};
    use sedge_protocol::ids::NodeId;

    use super::*;
    use crate::plugin_topic::{Change, batch_of};
    use crate::test_broker::TestBroker;

    fn change(node: &TestBroker, name: &str, content: Option<&[u8]>) {
        let timestamp_ms = 1_795_311_182_000;
        let change = Change {
            name,
            content,
            timestamp_ms,
        };
        node.write_past(node.partition(TOPIC), batch_of(&change).unwrap());
    }

    fn deployed(node: &TestBroker) -> Vec<String> {
        let plugins = &node.broker.plugins;
        let all = ["one", "two", "three"].into_iter();
        let known = all.filter(|name| plugins.registry.place(name).is_some());
        known.map(str::to_owned).collect()
    }

    /// As the controller would.
    fn create(machine: &mut MetadataMachine, name: &str, partitions: i32) {
        let command = Command::CreateTopic {
            name: name.to_owned(),
            id: crate::broker::random_uuid(),
            partitions,
            configs: Vec::new(),
            validate_only: false,
        };
        for record in machine.plan(Now::default(), command).unwrap().records {
            machine.apply(Offset::ZERO, &record);
        }
    }

    /// Takes what there is, as the task does.
    fn follow(node: &TestBroker) {
        assert!(node.broker.plugins.is_behind(&node.broker));
        apply(&node.broker);
        assert!(!node.broker.plugins.is_behind(&node.broker));
    }

    #[test]
    fn a_plugin_topic_that_is_made_again_is_read_from_its_start() {
        let node = TestBroker::start(&[]);
        start(&node.broker).unwrap();
        node.create_topic(TOPIC, &[]);
        change(&node, "one", Some(b"no component"));
        change(&node, "two", Some(b"none either"));
        follow(&node);
        assert_eq!(deployed(&node), ["one", "two"]);
        let before = node.broker.plugins.registry.place("one");

        // Clients cannot delete it; a version that let them may have written this metadata.
        let mut machine = MetadataMachine::new(NodeId(1), BrokerDefaults::default());
        create(&mut machine, "others", 5);
        node.broker
            .metadata
            .publish(Arc::new(machine.image().clone()));
        follow(&node);
        assert_eq!(deployed(&node), [""; 0], "no topic, no plugins");

        create(&mut machine, TOPIC, 1);
        node.broker
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
        start(&node.broker).unwrap();
        assert_eq!(deployed(&node), ["one"]);
    }
}
