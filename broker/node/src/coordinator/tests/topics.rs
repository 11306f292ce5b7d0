//! Tests deleted topics, and the offsets that groups have committed for them.

use super::*;

/// Counts the offsets of a group, including those of deleted topics.
fn count(groups: &Groups) -> usize {
    groups.with(|machine| machine.offsets().len())
}

#[test]
fn a_deleted_topic_takes_its_offsets_along_without_being_asked() {
    let disk = Disk::new(MemoryStore::new());
    for topic in ["t", "u"] {
        disk.create_topic(topic);
    }
    let mut node = Node::start(&disk);
    for topic in ["t", "u"] {
        disk.commit(&node.groups, &outsider("o"), (topic, 0), 1)
            .unwrap();
    }
    node.settle();
    let mut clock = Box::pin(node.journal.clone().keep_time(Arc::clone(&disk.log)));
    let _ = block_on(poll_once(&mut clock));
    assert_eq!(count(&node.groups), 2);
    // The task sleeps, and only the change of the metadata wakes it.
    disk.delete_topic("t");
    let _ = block_on(poll_once(&mut clock));
    node.settle();
    assert_eq!(count(&node.groups), 1);
    assert_eq!(disk.committed(&node.groups, "o", "u", 0), Some(1));
    assert_eq!(count(&disk.coordinators().groups), 1);
}

#[test]
fn a_topic_created_again_has_no_offsets_and_keeps_its_own() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    disk.commit(&node.groups, &outsider("o"), ("t", 0), 1)
        .unwrap();
    disk.commit(&node.groups, &outsider("o"), ("t", 1), 1)
        .unwrap();
    node.settle();
    disk.delete_topic("t");
    disk.create_topic("t");
    // The coordinator has not been told yet.
    assert_eq!(disk.committed(&node.groups, "o", "t", 0), None);
    disk.commit(&node.groups, &outsider("o"), ("t", 0), 2)
        .unwrap();
    node.run();
    node.tick();
    node.settle();
    node.tick();
    node.settle();
    assert_eq!(disk.committed(&node.groups, "o", "t", 0), Some(2));
    assert_eq!(disk.committed(&node.groups, "o", "t", 1), None);
    assert_eq!(count(&node.groups), 1, "what the former topic had is gone");
    assert_eq!(count(&disk.coordinators().groups), 1);
}

#[test]
fn commits_on_their_way_while_their_topic_goes_are_forgotten_when_they_land() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    disk.commit(&node.groups, &outsider("o"), ("t", 0), 1)
        .unwrap();
    node.run();
    disk.delete_topic("t");
    assert!(node.tick() > disk.now().monotonic_ms, "nothing to do yet");
    node.settle();
    assert_eq!(count(&node.groups), 1, "it has landed");
    // The next check is due at once, without another change of the metadata.
    node.tick();
    node.settle();
    assert_eq!(count(&node.groups), 0);
    assert_eq!(count(&disk.coordinators().groups), 0);
}

#[test]
fn a_removal_that_a_full_disk_refused_is_tried_again() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    disk.commit(&node.groups, &outsider("o"), ("t", 0), 1)
        .unwrap();
    node.settle();
    disk.delete_topic("t");
    node.tick();
    node.run();
    assert!(disk.serve(Verdict::Refuse));
    node.run();
    let wait = node.tick().saturating_sub(disk.now().monotonic_ms);
    assert!((1..=1_000).contains(&wait), "{wait} ms");
    disk.wait(wait);
    node.tick();
    node.settle();
    assert_eq!(count(&disk.coordinators().groups), 0);
}

#[test]
fn a_start_forgets_the_offsets_of_topics_that_went_before() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    disk.commit(&node.groups, &outsider("o"), ("t", 0), 1)
        .unwrap();
    node.settle();
    disk.delete_topic("t");
    // The process ends before the coordinator was told.
    drop(node);
    let mut node = Node::start(&disk);
    node.settle();
    assert_eq!(count(&disk.coordinators().groups), 0);
}
