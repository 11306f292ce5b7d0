//! Tests groups on a disk that is slow, refuses, fails once, and on which they restart.

use sedge_core::groups::{JoinRequest, Protocol, ReplyBody, SyncRequest};
use sedge_protocol::Bytes;

use super::*;

fn join() -> JoinRequest {
    JoinRequest {
        group_id: "g".to_owned(),
        member_id: String::new(),
        group_instance_id: None,
        client_id: "c".to_owned(),
        client_host: "/::1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::new(),
        }],
        requires_known_member_id: false,
        supports_skipping_assignment: true,
    }
}

/// Makes a member of generation 1 wait for its assignment. Returns its id and the pending answer.
fn member(node: &mut Node) -> (String, Receiver<ReplyBody>) {
    let joined = node
        .groups
        .join(node.disk.now(), &node.disk.log.metadata, join(), "1");
    node.disk.wait(3_000);
    node.tick();
    let Ok(ReplyBody::Join(Ok(joined))) = joined.try_recv() else {
        panic!("it joins at once: no record is needed for that");
    };
    let request = SyncRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member_id.clone(), Bytes::from_static(b"all"))],
    };
    let synced = node
        .groups
        .sync(node.disk.now(), &node.disk.log.metadata, request);
    (joined.member_id, synced)
}

/// Returns the member of generation 1 as a committer.
fn commits_as(member_id: &str) -> Committer {
    Committer {
        generation_id: 1,
        member_id: member_id.to_owned(),
        ..outsider("g")
    }
}

fn restarted(disk: &Disk) -> Arc<Groups> {
    disk.coordinators().groups
}

fn has_member(groups: &Groups, member_id: &str) -> bool {
    let described = groups.with(|machine| machine.describe("g"));
    described.is_ok_and(|group| group.members.iter().any(|of| of.member_id == member_id))
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    let (member_id, synced) = member(&mut node);
    let written = disk
        .commit(&node.groups, &outsider("o"), ("t", 0), 7)
        .unwrap();
    // A step without records still waits for those before it.
    let ((), empty) = node.groups.plan(|_| sedge_core::groups::Planned::only(()));
    for _ in 0..3 {
        node.run();
        assert!(synced.try_recv().is_err() && written.try_recv().is_err());
        assert!(empty.try_recv().is_err());
        assert_eq!(disk.committed(&node.groups, "o", "t", 0), None);
        assert!(!has_member(&restarted(&disk), &member_id));
        // The topic is created first.
        assert!(disk.serve(Verdict::Write));
        if disk.appends.lock().unwrap().len() == 1 {
            break;
        }
    }
    node.run();
    assert!(matches!(synced.try_recv(), Ok(ReplyBody::Sync(Ok(_)))));
    assert_eq!(written.try_recv(), Ok(Ok(())));
    assert_eq!(empty.try_recv(), Ok(Ok(())));
    let again = restarted(&disk);
    assert!(has_member(&again, &member_id));
    assert_eq!(disk.committed(&again, "o", "t", 0), Some(7));
    // Nothing is being written now.
    let ((), empty) = node.groups.plan(|_| sedge_core::groups::Planned::only(()));
    assert_eq!(empty.try_recv(), Ok(Ok(())));
}

#[test]
fn what_gathers_while_the_disk_is_slow_goes_in_one_append() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    let groups = Arc::clone(&node.groups);
    let commit = |offset: i64| {
        let group = format!("o{offset}");
        disk.commit(&groups, &outsider(&group), ("t", 0), offset)
            .unwrap()
    };
    let first = commit(0);
    node.run();
    let rest: Vec<_> = (1..100).map(commit).collect();
    node.settle();
    assert_eq!(first.try_recv(), Ok(Ok(())));
    assert!(rest.iter().all(|of| of.try_recv() == Ok(Ok(()))));
    assert_eq!(disk.appends.lock().unwrap().len(), 2);
    let again = restarted(&disk);
    for offset in 0..100 {
        let committed = disk.committed(&again, &format!("o{offset}"), "t", 0);
        assert_eq!(committed, Some(offset));
    }
}

#[test]
fn a_refusal_reaches_each_client_and_changes_nothing() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    let kept = disk
        .commit(&node.groups, &outsider("o"), ("t", 0), 1)
        .unwrap();
    node.settle();
    assert_eq!(kept.try_recv(), Ok(Ok(())));
    let (member_id, synced) = member(&mut node);
    let lost = disk
        .commit(&node.groups, &outsider("o"), ("t", 0), 2)
        .unwrap();
    node.run();
    assert!(disk.serve(Verdict::Refuse));
    node.run();
    let Ok(ReplyBody::Sync(Err(ErrorCode::NotCoordinator))) = synced.try_recv() else {
        panic!("the member looks for its coordinator again");
    };
    assert_eq!(lost.try_recv(), Ok(Err(ErrorCode::NotCoordinator)));
    for groups in [&node.groups, &restarted(&disk)] {
        assert_eq!(disk.committed(groups, "o", "t", 0), Some(1));
    }
    assert!(!has_member(&restarted(&disk), &member_id));
    assert!(node.journal.is_idle(), "it is not tried again at once");
}

#[test]
fn a_group_that_could_not_be_written_is_written_later() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    let (member_id, synced) = member(&mut node);
    node.run();
    // Its topic cannot be created.
    assert!(disk.serve(Verdict::Refuse));
    node.run();
    let Ok(ReplyBody::Sync(Err(ErrorCode::CoordinatorNotAvailable))) = synced.try_recv() else {
        panic!("it hears of it");
    };
    let deadline = node.tick();
    let wait = deadline.saturating_sub(disk.now().monotonic_ms);
    assert!((1..=1_000).contains(&wait), "{wait} ms");
    disk.wait(wait);
    node.tick();
    node.settle();
    let again = restarted(&disk);
    assert!(has_member(&again, &member_id));
    // The member continues with its present state.
    let written = disk.commit(&node.groups, &commits_as(&member_id), ("t", 0), 9);
    node.settle();
    assert_eq!(written.unwrap().try_recv(), Ok(Ok(())));
}

#[test]
fn a_full_disk_refuses_and_goes_on_with_what_fits() {
    let disk = Disk::new(MemoryStore::with_room(8 << 20));
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    let mut answers = Vec::new();
    let name = "n".repeat(4_000);
    for number in 0..4_000 {
        let group = outsider(&format!("{name}{number}"));
        answers.push(disk.commit(&node.groups, &group, ("t", 0), number).unwrap());
        if number % 100 == 0 {
            node.settle();
        }
    }
    node.settle();
    let answers = answers.iter().map(|of| of.try_recv().unwrap());
    let taken: Vec<bool> = answers.map(|written| written.is_ok()).collect();
    assert!(taken.contains(&true) && taken.contains(&false));
    let again = restarted(&disk);
    for (number, is_taken) in taken.into_iter().enumerate() {
        let committed = disk.committed(&again, &format!("{name}{number}"), "t", 0);
        assert_eq!(committed, is_taken.then_some(number as i64), "{number}");
    }
}

#[test]
fn a_restart_after_an_answer_that_was_lost_has_what_was_written() {
    let disk = Disk::new(MemoryStore::new());
    disk.create_topic("t");
    let mut node = Node::start(&disk);
    let first = disk
        .commit(&node.groups, &outsider("o"), ("t", 0), 1)
        .unwrap();
    node.settle();
    assert_eq!(first.try_recv(), Ok(Ok(())));
    let second = disk
        .commit(&node.groups, &outsider("o"), ("t", 0), 2)
        .unwrap();
    node.run();
    assert!(disk.serve(Verdict::WriteUnheard));
    drop(node);
    assert!(second.try_recv().is_err());
    assert_eq!(disk.committed(&restarted(&disk), "o", "t", 0), Some(2));
}
