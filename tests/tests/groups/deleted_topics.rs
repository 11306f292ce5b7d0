//! Tests that committed offsets are deleted with their topic: a successor of the same name has
//! none.

use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Commit, Connection, commit_error, committed, error};

const GROUPS: usize = 16;
const ROUNDS: usize = 25;

#[test]
fn a_commit_that_races_with_the_deletion_does_not_reach_the_successor() {
    let directory = TempDir::new("offsets-race");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut admin = Connection::open(&sedge.bootstrap());
    let mut clients: Vec<Connection> = (0..GROUPS)
        .map(|_| Connection::open(&sedge.bootstrap()))
        .collect();
    let mut taken = 0;
    for round in 0..ROUNDS {
        wire::create_topic(&mut admin, "t", 1, &[]);
        let group = |number: usize| format!("g{round}-{number}");
        for (number, client) in clients.iter_mut().enumerate() {
            Commit::of(&group(number), "t", 500).send(client);
        }
        wire::delete_topic(&mut admin, "t");
        for client in &mut clients {
            match commit_error(&client.reply().frame()[4..]) {
                error::NONE => taken += 1,
                code => assert_eq!(code, error::UNKNOWN_TOPIC),
            }
        }
        wire::create_topic(&mut admin, "t", 1, &[]);
        for number in 0..GROUPS {
            let found = committed(&mut admin, &group(number), "t", 0);
            assert_eq!(found, None, "round {round}, group {number}");
        }
        if round % 8 == 0 {
            sedge.kill();
            sedge.start_again();
            admin = Connection::open(&sedge.bootstrap());
            for client in &mut clients {
                *client = Connection::open(&sedge.bootstrap());
            }
            for number in 0..GROUPS {
                let found = committed(&mut admin, &group(number), "t", 0);
                assert_eq!(found, None, "round {round}, group {number}, restarted");
            }
        }
        wire::delete_topic(&mut admin, "t");
    }
    assert!(taken > 0, "no commit came before its topic was deleted");
}
