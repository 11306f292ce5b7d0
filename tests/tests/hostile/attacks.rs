//! What hostile clients do. Those that log in by SASL are in `sasl/hostile.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::flood::{Flood, Manner};
use sedge_tests::process::Process;
use sedge_tests::wire::{
    self, Batch, Codec, Connection, Decoder, Encoder, FETCH_VERSION, Reply, error, frame, key,
    zstd_bomb,
};
use sedge_tests::{limits, tls};

use crate::target::{Field, PLACES};

pub struct Attack {
    pub name: &'static str,
    pub run: fn(&Field),
}

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "frames that come a byte at a time",
        run: slow_frames,
    },
    Attack {
        name: "handshakes that come a byte at a time",
        run: slow_handshakes,
    },
    Attack {
        name: "half a handshake",
        run: half_handshakes,
    },
    Attack {
        name: "forged lengths",
        run: forged_lengths,
    },
    Attack {
        name: "half-sent requests of 8 MiB",
        run: half_sent,
    },
    Attack {
        name: "decompression bombs",
        run: bombs,
    },
    Attack {
        name: "renegotiation",
        run: renegotiation,
    },
    Attack {
        name: "fetch sessions of others",
        run: sessions_of_others,
    },
    Attack {
        name: "fetch sessions by the thousand",
        run: fetch_sessions,
    },
    Attack {
        name: "a flood of requests",
        run: floods,
    },
    Attack {
        name: "a flood of idempotent producers",
        run: producers,
    },
    Attack {
        name: "more idle connections with TLS than there are places",
        run: idle_connections,
    },
    Attack {
        name: "a flood of connections",
        run: connections,
    },
];

/// How long an attack that has no end of its own lasts.
const LASTS: Duration = Duration::from_millis(700);
const SLOW_PACE: Duration = Duration::from_millis(20);

fn sockets(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| Connection::open(address).stream)
        .collect()
}

/// Sends a byte of `bytes` on each connection at a time.
fn trickle(mut sockets: Vec<TcpStream>, bytes: &[u8]) {
    let until = Instant::now() + LASTS;
    for byte in bytes.iter().take_while(|_| Instant::now() < until) {
        for socket in &mut sockets {
            // The broker may have closed it.
            drop(socket.write_all(&[*byte]));
        }
        std::thread::sleep(SLOW_PACE);
    }
}

fn slow_frames(field: &Field) {
    let request = frame(key::API_VERSIONS, 0, 1, &[0; 1000]);
    trickle(sockets(&field.plain, 60 * field.scale), &request);
}

fn slow_handshakes(field: &Field) {
    let hello = field.client.hello();
    trickle(sockets(&field.ssl, 60 * field.scale), &hello);
}

fn half_handshakes(field: &Field) {
    let hello = field.client.hello();
    let mut open = sockets(&field.ssl, PLACES / 2);
    for socket in &mut open {
        drop(socket.write_all(&hello[..hello.len() / 2]));
    }
    // Others are served meanwhile.
    for _ in 0..10 {
        let mut other = Connection::open_secured(&field.client, &field.ssl);
        let answer = other.ask(key::API_VERSIONS, 0, &[]);
        assert_eq!(Decoder(&answer).i16(), error::NONE);
    }
}

fn forged_lengths(field: &Field) {
    for length in [-1, i32::MIN, i32::MAX, 104_857_601] {
        let mut bytes = i32::to_be_bytes(length).to_vec();
        bytes.extend([0; 64]);
        let mut plain = Connection::open(&field.plain);
        plain.send_raw(&bytes);
        assert_eq!(plain.reply(), Reply::Closed, "{length}");
        let mut secured = Connection::open_secured(&field.client, &field.ssl);
        secured.send_raw(&bytes);
        assert_eq!(secured.reply(), Reply::Closed, "{length} with TLS");
        // A record of TLS, and a message of a handshake, that claim more than they may.
        for forged in [
            &[0x17, 3, 3, 0xff, 0xff][..],
            &[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
        ] {
            let mut raw = Connection::open(&field.ssl);
            raw.send_raw(forged);
            raw.send_raw(&vec![0; 40_000]);
            raw.end();
            let mut rest = Vec::new();
            // A reset is an end, too.
            drop(raw.stream.read_to_end(&mut rest));
            assert!(rest.len() < 16, "{forged:x?} is answered");
        }
    }
}

fn half_sent(field: &Field) {
    const BYTES: usize = 8 << 20;
    let body = wire::produce_request("attacked", 0, -1, &vec![0; BYTES]);
    let request = frame(key::PRODUCE, wire::PRODUCE_VERSION, 1, &body);
    let half = &request[..request.len() / 2];
    let send = |mut to: Box<dyn Write>| {
        // The broker cuts those that hold what others wait for.
        drop(to.write_all(half));
        to
    };
    let held: Vec<_> = (0..6 * field.scale)
        .map(|number| {
            let stream = Connection::open(if number % 2 == 0 {
                &field.plain
            } else {
                &field.ssl
            })
            .stream;
            let limit = Some(Duration::from_secs(2));
            stream
                .set_write_timeout(limit)
                .expect("a socket takes options");
            if number % 2 == 0 {
                return send(Box::new(stream));
            }
            let secured = field.client.handshake(stream).expect("TLS");
            send(Box::new(secured))
        })
        .collect();
    std::thread::sleep(LASTS);
    drop(held);
}

fn bombs(field: &Field) {
    let bomb = Batch::filled(3, 100).compressed(Codec::Zstd, zstd_bomb(256 << 20));
    let body = wire::produce_request("attacked", 0, -1, &bomb.encode());
    let mut open: Vec<_> = (0..4).map(|_| Connection::open(&field.plain)).collect();
    for _ in 0..2 * field.scale {
        for connection in &mut open {
            connection.send(key::PRODUCE, wire::PRODUCE_VERSION, &body);
        }
        for connection in &mut open {
            let reply = connection.reply().frame();
            assert_eq!(wire::produced(&reply[4..]).error, error::INVALID_RECORD);
        }
    }
}

/// By OpenSSL, which begins a second handshake within the session when it reads an R. A refusal
/// ends it; otherwise it would wait for an answer.
fn renegotiation(field: &Field) {
    for _ in 0..field.scale {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_2", "-connect", &field.ssl]);
        command.args(["-CAfile", &field.certificates.file("ca.pem")]);
        let done = Process::run("openssl", &mut command, b"R\n", limits::CONDITION);
        let said = format!("{}\n{}", done.stdout, done.stderr);
        assert!(said.contains("RENEGOTIATING"), "{said}");
        assert!(said.contains("no renegotiation"), "{said}");
    }
}

/// A fetch of one partition with this session.
fn session_fetch(id: i32, epoch: i32) -> Vec<u8> {
    let body = Encoder::default().i32(-1).i32(0).i32(0).i32(1 << 20).i8(0);
    let body = body.i32(id).i32(epoch).i32(1).string("attacked").i32(1);
    let body = body.i32(0).i32(-1).i64(0).i64(-1).i32(1 << 20);
    body.i32(0).string("").0
}

/// Returns the error and the session of an answer.
fn session_of(answer: &[u8]) -> (i16, i32) {
    let mut answer = Decoder(answer);
    answer.i32();
    (answer.i16(), answer.i32())
}

fn fetch_sessions(field: &Field) {
    let mut open: Vec<_> = (0..4).map(|_| Connection::open(&field.plain)).collect();
    for _ in 0..400 * field.scale {
        for connection in &mut open {
            connection.send(key::FETCH, FETCH_VERSION, &session_fetch(0, 0));
        }
        for connection in &mut open {
            let reply = connection.reply().frame();
            assert_eq!(session_of(&reply[4..]).0, error::NONE);
        }
    }
}

/// Ids cannot be guessed from others, and who knows one but not its epoch does not disturb it.
fn sessions_of_others(field: &Field) {
    const NOT_FOUND: i16 = 70;
    const INVALID_EPOCH: i16 = 71;
    let ask = |connection: &mut Connection, id, epoch| {
        session_of(&connection.ask(key::FETCH, FETCH_VERSION, &session_fetch(id, epoch)))
    };
    let mut victim = Connection::open(&field.plain);
    let (error, of_victim) = ask(&mut victim, 0, 0);
    assert_eq!(error, error::NONE);
    if of_victim == 0 {
        // Another attack has taken all sessions: this one is of a full fetch each time.
        return;
    }
    let mut thief = Connection::open(&field.plain);
    for distance in 1..=150 * field.scale as i32 {
        for id in [
            of_victim.wrapping_add(distance),
            of_victim.wrapping_sub(distance),
        ] {
            assert_eq!(ask(&mut thief, id, 1).0, NOT_FOUND, "{id}, {of_victim}");
        }
    }
    assert_eq!(ask(&mut thief, of_victim, 7).0, INVALID_EPOCH);
    assert_eq!(ask(&mut victim, of_victim, 1), (error::NONE, of_victim));
}

/// Encodes the request of this number.
type Body = fn(usize) -> Vec<u8>;

/// Each connection sends much before it reads.
fn floods(field: &Field) {
    const AT_ONCE: usize = 200;
    let requests: [(i16, i16, Body); 5] = [
        (key::API_VERSIONS, 0, |_| Vec::new()),
        (key::METADATA, 1, |_| Encoder::default().i32(-1).0),
        (key::FIND_COORDINATOR, 0, |number| {
            Encoder::default().string(&*format!("group-{number}")).0
        }),
        (key::JOIN_GROUP, 4, join),
        (key::INIT_PRODUCER_ID, 1, |number| {
            let transaction = Encoder::default().string(&*format!("transaction-{number}"));
            transaction.i32(60_000).0
        }),
    ];
    let until = Instant::now() + LASTS;
    std::thread::scope(|scope| {
        for (key, version, body) in requests {
            scope.spawn(move || {
                let mut connection = Connection::open(&field.plain);
                let mut number = 0;
                while Instant::now() < until {
                    for _ in 0..AT_ONCE {
                        connection.send(key, version, &body(number));
                        number += 1;
                    }
                    for _ in 0..AT_ONCE {
                        connection.reply().frame();
                    }
                }
            });
        }
    });
}

/// Each producer writes one batch and never comes back.
fn producers(field: &Field) {
    const AT_ONCE: usize = 100;
    let until = Instant::now() + LASTS;
    std::thread::scope(|scope| {
        for _ in 0..2 * field.scale {
            scope.spawn(|| {
                let mut connection = Connection::open(&field.plain);
                let mut batch = Batch::filled(1, 10);
                batch.base_sequence = 0;
                while Instant::now() < until {
                    let ids: Vec<_> = (0..AT_ONCE)
                        .map(|_| wire::init_producer_id(&mut connection))
                        .collect();
                    for (id, epoch) in &ids {
                        (batch.producer_id, batch.producer_epoch) = (*id, *epoch);
                        let body = wire::produce_request("attacked", 0, -1, &batch.encode());
                        connection.send(key::PRODUCE, wire::PRODUCE_VERSION, &body);
                    }
                    for _ in ids {
                        let reply = connection.reply().frame();
                        assert_eq!(wire::produced(&reply[4..]).error, error::NONE);
                    }
                }
            });
        }
    });
}

/// A member of a group of its own, which never comes back.
fn join(number: usize) -> Vec<u8> {
    let group = format!("flood-{number}");
    let body = Encoder::default().string(&*group).i32(10_000).i32(10_000);
    let body = body.string("").string("consumer").i32(1).string("range");
    body.bytes(&[0; 64]).0
}

fn idle_connections(field: &Field) {
    let mut open: Vec<tls::Stream> = Vec::new();
    for _ in 0..PLACES * 2 * field.scale {
        let stream = Connection::open(&field.ssl).stream;
        open.extend(field.client.handshake(stream));
    }
    assert!(open.len() > PLACES, "{} handshakes", open.len());
}

fn connections(field: &Field) {
    let hello = Manner::Says(field.client.hello());
    let floods = [
        Flood::start(&field.ssl, 500, &hello),
        Flood::start(&field.plain, 500, &Manner::Silent),
    ];
    std::thread::sleep(LASTS);
    for flood in &floods {
        assert!(flood.rate() > 0.0);
    }
}
