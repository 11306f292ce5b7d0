//! Tests that slow connections are not idle, and that silent ones are closed and logged.

use std::io::{Read, Write};
use std::time::Duration;

use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{
    self, Batch, Connection, FETCH_VERSION, PRODUCE_VERSION, Reply, error, fetched, frame, key,
};

const IDLE: Duration = Duration::from_secs(2);
/// A slow transfer moves one piece in this time, many within the idle limit.
const PACE: Duration = Duration::from_millis(50);
/// Enough pieces to make a transfer take three times the idle limit.
const PIECES: usize = (3 * IDLE.as_millis() / PACE.as_millis()) as usize;

const BATCHES: i64 = 30;
const VALUE_BYTES: usize = 100_000;

fn start(directory: &TempDir) -> Sedge {
    let idle_ms = IDLE.as_millis().to_string();
    let options = Options::default().set("connections.max.idle.ms", &idle_ms);
    let sedge = Sedge::start(&directory.join("data"), options);
    wire::create_topic(&mut Connection::open(&sedge.bootstrap()), "t", 1, &[]);
    sedge
}

fn value(number: i64) -> Vec<u8> {
    vec![number as u8; VALUE_BYTES]
}

fn fill(sedge: &Sedge) {
    let mut connection = Connection::open(&sedge.bootstrap());
    for number in 0..BATCHES {
        let batch = Batch::of(&[value(number)]).encode();
        let produced = wire::produce(&mut connection, "t", 0, &batch);
        assert_eq!(produced.error, error::NONE);
    }
}

/// Asks for everything that [`fill`] wrote, on a connection with a small window.
fn ask_for_all(sedge: &Sedge) -> Connection {
    let mut connection = Connection::open(&sedge.bootstrap());
    rustix::net::sockopt::set_socket_recv_buffer_size(&connection.stream, 16 << 10)
        .expect("a socket takes options");
    let body = wire::fetch_request("t", 0, 0, 2 * BATCHES as i32 * VALUE_BYTES as i32);
    connection.send(key::FETCH, FETCH_VERSION, &body);
    connection
}

#[test]
fn a_slow_answer_arrives_whole() {
    let directory = TempDir::new("slow-answer");
    let sedge = start(&directory);
    fill(&sedge);
    let mut connection = ask_for_all(&sedge);
    let mut length = [0; 4];
    connection.stream.read_exact(&mut length).expect("a length");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    for piece in answer.chunks_mut(BATCHES as usize * VALUE_BYTES / PIECES) {
        std::thread::sleep(PACE);
        connection.stream.read_exact(piece).expect("a piece");
    }
    let records = wire::records(&fetched(&answer[4..]).records);
    assert_eq!(records.len() as i64, BATCHES);
    for record in records {
        assert!(record.value == value(record.offset), "{}", record.offset);
    }
}

#[test]
fn a_slow_request_is_taken() {
    let directory = TempDir::new("slow-request");
    let sedge = start(&directory);
    let batch = Batch::of(&[value(0)]).encode();
    let body = wire::produce_request("t", 0, -1, &batch);
    let request = frame(key::PRODUCE, PRODUCE_VERSION, 1, &body);
    let mut connection = Connection::open(&sedge.bootstrap());
    for piece in request.chunks(request.len() / PIECES) {
        std::thread::sleep(PACE);
        connection.stream.write_all(piece).expect("a piece");
    }
    let answer = connection.reply().frame();
    assert_eq!(wire::produced(&answer[4..]).error, error::NONE);
}

/// Silent in the middle of a request, of an answer, and between them.
#[test]
fn a_silent_connection_is_closed_and_logged() {
    let directory = TempDir::new("silent");
    let mut sedge = start(&directory);
    fill(&sedge);
    let mut asking = Connection::open(&sedge.bootstrap());
    asking.send_raw(&1000_i32.to_be_bytes());
    asking.send_raw(&[0; 100]);
    let reading = ask_for_all(&sedge);
    let mut quiet = Connection::open(&sedge.bootstrap());
    for connection in [&asking, &reading, &quiet] {
        let peer = connection.stream.local_addr().expect("it is connected");
        let said = format!("peer={peer} closed: no byte came or went for connections.max.idle.ms");
        let what = "the line of an idle connection";
        sedge.process().wait_for(what, limits::CONDITION, |output| {
            let mut lines = output.stderr.iter();
            lines.find(|line| line.contains(&said)).cloned()
        });
    }
    assert_eq!(asking.reply(), Reply::Closed);
    assert_eq!(quiet.reply(), Reply::Closed);
}
