//! The test vectors of `FORMAT.md`: what the code sends and reads is what the page says.

use sedge_link::message::{Down, Reason, Up, Usage, read, write};
use sedge_link::{Frame, Receiver, Seen};

const FORMAT: &str = include_str!("../FORMAT.md");
const SESSION: u32 = 0x1234_5678;

fn hex(bytes: &[u8]) -> String {
    let digits = b"0123456789abcdef".map(char::from);
    let pair = |byte: &u8| {
        [
            digits[usize::from(byte >> 4)],
            digits[usize::from(byte & 15)],
        ]
    };
    bytes.iter().flat_map(pair).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Returns the line of the page for a message.
fn line(name: &str, session: u32, message: &[u8]) -> String {
    let mut frame = Frame::default();
    frame.message()[..message.len()].copy_from_slice(message);
    let sealed = hex(frame.seal(message.len(), session));
    format!(
        "| {name} | {session:08x} | `{}` | `{sealed}` |",
        hex(message)
    )
}

fn ups() -> Vec<(&'static str, u32, Up<'static>)> {
    vec![
        (
            "Hello, attempt 1, pump-1, instance 300, first 7",
            0,
            Up::Hello {
                version: 1,
                attempt: 1,
                identity: "pump-1",
                instance: 300,
                first: 7,
            },
        ),
        (
            "Proof, attempt 1, 32 bytes of 0x11",
            0,
            Up::Proof {
                attempt: 1,
                mac: &[0x11; 32],
            },
        ),
        (
            "Topic 0, Publish, temperature",
            SESSION,
            Up::Topic {
                alias: 0,
                usage: Usage::Publish,
                name: "temperature",
            },
        ),
        (
            "Topic 1, SubscribeEarliest, commands",
            SESSION,
            Up::Topic {
                alias: 1,
                usage: Usage::SubscribeEarliest,
                name: "commands",
            },
        ),
        (
            "Publish, first 7, topic 0, age 1000, size 2: 0x0102, and 0x0304 after 5 ms",
            SESSION,
            Up::Publish {
                first: 7,
                alias: 0,
                age_ms: 1000,
                size: 2,
                readings: &[0, 1, 2, 5, 3, 4],
            },
        ),
        (
            "Publish, first 9, topic 0, age 0, lengths differ: empty, and 0xff after 1 ms",
            SESSION,
            Up::Publish {
                first: 9,
                alias: 0,
                age_ms: 0,
                size: 0,
                readings: &[0, 0, 1, 1, 0xff],
            },
        ),
        ("Received, next 1", SESSION, Up::Received { next: 1 }),
        ("Time, sent 4000", SESSION, Up::Time { sent_ms: 4000 }),
        ("Ping", SESSION, Up::Ping),
    ]
}

fn downs() -> Vec<(&'static str, u32, Down<'static>)> {
    vec![
        (
            "Welcome, attempt 1, session 12345678, instance 300, next 7, window 64, 1700000000000",
            0,
            Down::Welcome {
                attempt: 1,
                session: SESSION,
                instance: 300,
                next: 7,
                window: 64,
                unix_ms: 1_700_000_000_000,
            },
        ),
        (
            "Challenge, attempt 1, 16 bytes of 0x22",
            0,
            Down::Challenge {
                attempt: 1,
                nonce: &[0x22; 16],
            },
        ),
        (
            "Sorry, attempt 1, Identity",
            0,
            Down::Sorry {
                attempt: 1,
                reason: Reason::Identity,
            },
        ),
        ("Greet", 0, Down::Greet),
        (
            "Topic 0, taken",
            SESSION,
            Down::Topic {
                alias: 0,
                refused: None,
            },
        ),
        (
            "Topic 1, refused, Denied",
            SESSION,
            Down::Topic {
                alias: 1,
                refused: Some(Reason::Denied),
            },
        ),
        (
            "Ack, next 9, window 64",
            SESSION,
            Down::Ack {
                next: 9,
                window: 64,
            },
        ),
        ("Again, first 8", SESSION, Down::Again { first: 8 }),
        (
            "Refused, first 8, count 1, Invalid",
            SESSION,
            Down::Refused {
                first: 8,
                count: 1,
                reason: Reason::Invalid,
            },
        ),
        (
            "Deliver, number 0, topic 1, partition 0, offset 41, 1700000000000, open",
            SESSION,
            Down::Deliver {
                number: 0,
                alias: 1,
                partition: 0,
                offset: 41,
                unix_ms: 1_700_000_000_000,
                value: b"open",
            },
        ),
        (
            "Now, sent 4000, 1700000000000",
            SESSION,
            Down::Now {
                sent_ms: 4000,
                unix_ms: 1_700_000_000_000,
            },
        ),
        (
            "Bye, Replaced",
            SESSION,
            Down::Bye {
                reason: Reason::Replaced,
            },
        ),
    ]
}

fn opened(frame: &[u8], session: u32) -> Vec<u8> {
    let mut receiver = Receiver::default();
    let mut message = Vec::new();
    for byte in frame {
        match receiver.push(*byte, SESSION) {
            Some(Seen::Message(bytes)) if session == SESSION => message = bytes.to_vec(),
            Some(Seen::Greeting(bytes)) if session == 0 => message = bytes.to_vec(),
            Some(seen) => panic!("{seen:?}"),
            None => {}
        }
    }
    message
}

#[test]
fn the_page_has_what_the_code_sends_and_reads() {
    let mut room = [0; 256];
    let mut lines = Vec::new();
    for (name, session, up) in ups() {
        let length = write(&up, &mut room).unwrap();
        assert_eq!(read(&room[..length]), Some(up));
        lines.push((line(name, session, &room[..length]), session));
    }
    for (name, session, down) in downs() {
        let length = write(&down, &mut room).unwrap();
        assert_eq!(read(&room[..length]), Some(down));
        lines.push((line(name, session, &room[..length]), session));
    }
    let missing = lines.iter().filter(|(line, _)| !FORMAT.contains(line));
    let missing: Vec<_> = missing.map(|(line, _)| line.as_str()).collect();
    assert!(
        missing.is_empty(),
        "the page lacks:\n{}",
        missing.join("\n")
    );
    for (line, session) in &lines {
        let mut hexes = line.split('`').skip(1).step_by(2);
        let (message, frame) = (hexes.next().unwrap(), hexes.next().unwrap());
        assert_eq!(opened(&bytes(frame), *session), bytes(message));
    }
}

#[test]
fn a_message_with_a_byte_too_many_or_too_few_is_none() {
    let mut room = [0; 256];
    for (name, _, up) in ups() {
        let length = write(&up, &mut room).unwrap();
        for cut in 0..length {
            // What is cut inside the last field's bytes is too short, too.
            assert_eq!(read::<Up<'_>>(&room[..cut]), None, "{name} cut at {cut}");
        }
        room[length] = 0;
        assert_eq!(read::<Up<'_>>(&room[..=length]), None, "{name}");
    }
}
