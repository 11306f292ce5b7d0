//! Tests versions that are not answered: the log says once per client which ones are, and why.

use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{Connection, Reply, fetch_request, key};

#[test]
fn a_version_that_is_not_answered_is_told_of_once_a_client() {
    let directory = TempDir::new("versions");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    for _ in 0..5 {
        let mut connection = Connection::open(&sedge.bootstrap());
        connection.send(key::FETCH, 3, &fetch_request("t", 0, 0, 1000));
        assert_eq!(connection.reply(), Reply::Closed);
    }
    // Comes after everything that the five may have left.
    let mut connection = Connection::open(&sedge.bootstrap());
    connection.send_raw(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(connection.reply(), Reply::Closed);
    let lines = sedge
        .process()
        .wait_for("the line of HTTP", limits::CONDITION, |output| {
            let is_there = output.stderr.iter().any(|line| line.contains("HTTP"));
            is_there.then(|| output.stderr.clone())
        });
    // The log escapes the quotes around the client's name.
    let said = r#"Fetch v3 of client \"sedge-tests\" is not supported: versions 4 to 18 are"#;
    let lines: Vec<_> = lines.iter().filter(|line| line.contains(said)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
}
