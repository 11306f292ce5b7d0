//! Tests sessions with a client in memory, whose bytes arrive in pieces of all sizes.

use std::io::{Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, ProtocolVersion};

use super::*;
use crate::tls::authority::{Authority, Signed, Subject};
use crate::tls::words;
use crate::tls::{ClientTls, ServerTls};

const VERSIONS: [(&str, ProtocolVersion); 2] = [
    ("TLSv1.2", ProtocolVersion::TLSv1_2),
    ("TLSv1.3", ProtocolVersion::TLSv1_3),
];
/// As much as is there.
const ALL: usize = usize::MAX;

/// The configurations of a broker that asks for certificates, and of its client.
struct Site {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Site {
    fn new(version: &str) -> Self {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (ca, _) = Authority::make(now_s.as_secs()).unwrap();
        let get = |subject: &Subject<'_>| {
            let signed = ca.sign(subject, now_s.as_secs(), 1).unwrap();
            let Signed {
                certificate_pem,
                key_pem,
            } = signed;
            let trusted = ca.certificate_pem().to_owned();
            let version = version.to_owned();
            move |key: &str| {
                Some(match key {
                    "ssl.keystore.type" | "ssl.truststore.type" => "PEM".to_owned(),
                    "ssl.keystore.certificate.chain" => certificate_pem.clone(),
                    "ssl.keystore.key" => key_pem.to_string(),
                    "ssl.truststore.certificates" => trusted.clone(),
                    "ssl.enabled.protocols" => version.clone(),
                    "ssl.client.auth" => "requested".to_owned(),
                    _ => return None,
                })
            }
        };
        let hosts = ["127.0.0.1".to_owned()];
        let server = get(&Subject::Broker { hosts: &hosts });
        let client = get(&Subject::Client { name: "Alice" });
        Self {
            client: ClientTls::read(&client).unwrap().current().unwrap(),
            server: ServerTls::load(&server).unwrap().current(),
        }
    }

    fn open(&self) -> Pair {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Pair {
            client: ClientConnection::new(Arc::clone(&self.client), name).unwrap(),
            server: Session::new(Arc::clone(&self.server)).unwrap(),
            wire: Vec::new(),
            read: Vec::new(),
        }
    }
}

/// A client and a session with a wire between them.
struct Pair {
    client: ClientConnection,
    server: Session,
    /// Bytes from the client that the session has not received.
    wire: Vec<u8>,
    /// What the session has read.
    read: Vec<u8>,
}

impl Pair {
    /// A pair whose handshake is complete; it went in pieces of this many bytes.
    fn secured(site: &Site, piece: usize) -> Self {
        let mut pair = site.open();
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.client_sends();
            pair.receive_all(piece, 0).unwrap();
            pair.client_receives(piece).unwrap();
        }
        assert!(pair.read.is_empty());
        pair
    }

    fn client_sends(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire).unwrap();
        }
    }

    /// Receives a piece into a buffer of `room` bytes, and reads what else was decrypted.
    fn receive(&mut self, piece: usize, room: usize) -> io::Result<()> {
        let mut into = vec![0; room];
        // In two parts, one of which may be empty.
        let (first, second) = into.split_at_mut(room / 3);
        let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
        let wire = &mut self.wire;
        let received = self.server.poll_receive(&mut parts, |buffer| {
            let bytes = piece.min(wire.len()).min(buffer.len());
            buffer[..bytes].copy_from_slice(&wire[..bytes]);
            wire.drain(..bytes);
            Poll::Ready(Ok(bytes))
        });
        let Poll::Ready(received) = received else {
            panic!("the wire is always ready");
        };
        self.read.extend_from_slice(&into[..received?]);
        loop {
            let mut into = vec![0; room.max(1)];
            match self.server.read(&mut [IoSliceMut::new(&mut into)]) {
                0 => return Ok(()),
                read => self.read.extend_from_slice(&into[..read]),
            }
        }
    }

    fn receive_all(&mut self, piece: usize, room: usize) -> io::Result<()> {
        while !self.wire.is_empty() && !self.server.is_ended() {
            self.receive(piece, room)?;
        }
        Ok(())
    }

    /// The client takes what the session has to send.
    fn client_receives(&mut self, piece: usize) -> Result<(), rustls::Error> {
        while !self.server.outgoing().is_empty() {
            let outgoing = self.server.outgoing();
            let mut first = &outgoing[..piece.min(outgoing.len())];
            let sent = self.client.read_tls(&mut first).unwrap();
            assert!(sent > 0);
            self.server.sent(sent);
            self.client.process_new_packets()?;
        }
        self.server.free_outgoing();
        Ok(())
    }

    fn client_says(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
        self.client_sends();
    }

    /// Sends an answer, which the client reads.
    fn answer(&mut self, bytes: &[u8], piece: usize) {
        self.server.encrypt(bytes).unwrap();
        let mut read = Vec::new();
        while read.len() < bytes.len() {
            let outgoing = self.server.outgoing();
            let mut first = &outgoing[..piece.min(outgoing.len())];
            let sent = self.client.read_tls(&mut first).unwrap();
            self.server.sent(sent);
            self.client.process_new_packets().unwrap();
            let _ = self.client.reader().read_to_end(&mut read);
        }
        self.server.free_outgoing();
        assert!(read == bytes);
    }

    fn holds_nothing(&self) -> bool {
        let Session {
            incoming,
            unread,
            outgoing,
            ..
        } = &self.server;
        incoming.capacity() + unread.capacity() + outgoing.capacity() == 0
    }
}

fn numbered(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn bytes_may_come_one_by_one_and_an_idle_session_holds_none() {
    for (name, version) in VERSIONS {
        let site = Site::new(name);
        for piece in [1, 2, 7, 1_000, ALL] {
            let mut pair = Pair::secured(&site, piece);
            assert_eq!(pair.server.tls.protocol_version(), Some(version));
            assert!(pair.server.peer_certificates().is_some());
            assert!(pair.holds_nothing());
            for bytes in [1, 5, 20_000, 40_000] {
                let said = numbered(bytes);
                pair.client_says(&said);
                pair.receive_all(piece, 100).unwrap();
                assert!(pair.read == said);
                pair.read.clear();
                assert!(pair.holds_nothing());
                pair.answer(&said, piece);
                assert!(pair.holds_nothing());
            }
        }
    }
}

#[test]
fn many_small_records_are_decrypted_at_once_into_any_buffer() {
    for (name, _) in VERSIONS {
        let site = Site::new(name);
        for room in [0, 1, 100, 1 << 20] {
            let mut pair = Pair::secured(&site, ALL);
            let said = numbered(3_000);
            for byte in &said {
                pair.client_says(std::slice::from_ref(byte));
            }
            let mut receives = 0;
            while !pair.wire.is_empty() {
                pair.receive(ALL, room).unwrap();
                receives += 1;
            }
            assert!(pair.read == said);
            assert!(receives < 10, "{receives}");
        }
    }
}

#[test]
fn a_session_receives_what_its_reader_wants_and_at_least_a_record() {
    let mut pair = Pair::secured(&Site::new("TLSv1.3"), ALL);
    let mut offered = |bytes: usize| {
        let mut room = 0;
        let note = |buffer: &mut [u8]| {
            room = buffer.len();
            Poll::Pending
        };
        let mut into = vec![0; bytes];
        let received = pair
            .server
            .poll_receive(&mut [IoSliceMut::new(&mut into)], note);
        assert!(received.is_pending());
        room
    };
    assert_eq!(offered(0), RECORD_BYTES);
    // 40,000 bytes are three records.
    assert_eq!(offered(40_000), 40_000 + 3 * RECORD_OVERHEAD_BYTES);
    assert_eq!(offered(1 << 20), TLS_READ_BYTES);
}

#[test]
fn either_side_ends_its_stream_and_the_other_goes_on() {
    for (name, _) in VERSIONS {
        let site = Site::new(name);
        let mut pair = Pair::secured(&site, ALL);
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        pair.client_sends();
        pair.wire.extend_from_slice(b"what follows is nothing");
        pair.receive(ALL, 3).unwrap();
        assert!(pair.server.is_ended() && pair.server.is_readable());
        assert_eq!(pair.read, b"last");
        assert_eq!(pair.server.read(&mut [IoSliceMut::new(&mut [0; 8])]), 0);
        pair.answer(&numbered(20_000), ALL);
        pair.server.close();
        pair.client_receives(ALL).unwrap();
        assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0);

        // The client ends without `close_notify`.
        let mut pair = Pair::secured(&site, ALL);
        pair.receive(ALL, 8).unwrap();
        assert!(pair.server.is_ended());

        let mut pair = Pair::secured(&site, ALL);
        pair.server.close();
        pair.client_receives(ALL).unwrap();
        assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0);
        assert!(pair.server.encrypt(b"late").is_err());
    }
}

#[test]
fn what_is_not_tls_is_refused_with_an_alert() {
    for (name, _) in VERSIONS {
        let site = Site::new(name);
        let mut pair = site.open();
        pair.wire.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let error = pair.receive_all(ALL, 0).unwrap_err();
        assert!(words::of_io(&error).is_some(), "{error}");
        // A record of type alert, version, two bytes: fatal.
        assert_eq!(pair.server.outgoing()[0], 21);
        assert_eq!(pair.server.outgoing()[5], 2);

        let mut pair = Pair::secured(&site, ALL);
        pair.client_says(b"changed on the way");
        *pair.wire.last_mut().unwrap() ^= 1;
        let error = pair.receive_all(ALL, 100).unwrap_err();
        assert_eq!(words::of_io(&error), Some(&rustls::Error::DecryptError));
        assert!(pair.read.is_empty());
        let told = pair.client_receives(ALL);
        let alert = AlertDescription::BadRecordMac;
        assert_eq!(told, Err(rustls::Error::AlertReceived(alert)));
        assert!(pair.server.encrypt(b"after a failure").is_err());
        pair.server.close();
        assert!(pair.server.outgoing().is_empty());
    }
}

#[test]
fn a_handshake_without_end_is_refused() {
    let mut pair = Site::new("TLSv1.3").open();
    // A hello of 64 KiB in full records.
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(4 + 0xffff, 0);
    for part in message.chunks(TLS_RECORD_PLAIN_BYTES) {
        pair.wire.extend([22, 3, 1]);
        pair.wire.extend((part.len() as u16).to_be_bytes());
        pair.wire.extend(part);
    }
    let sent = pair.wire.len();
    let error = pair.receive_all(1_000, 0).unwrap_err();
    let limit = TLS_HANDSHAKE_BYTES_MAX.to_string();
    assert!(error.to_string().contains(&limit), "{error}");
    assert_eq!(sent - pair.wire.len(), TLS_HANDSHAKE_BYTES_MAX);
}

/// The client is told the new key before the next answer.
#[test]
fn keys_are_updated_whenever_the_client_asks() {
    let mut pair = Pair::secured(&Site::new("TLSv1.3"), ALL);
    for round in 0..100 {
        let said = numbered(round);
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_says(&said);
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_says(b".");
        pair.receive_all(1 + round, 10).unwrap();
        assert_eq!(pair.read.len(), said.len() + 1);
        pair.read.clear();
        pair.answer(&said, ALL);
    }
    for _ in 0..100 {
        pair.client.refresh_traffic_keys().unwrap();
    }
    pair.client_sends();
    let error = pair.receive_all(ALL, 10).unwrap_err();
    assert!(error.to_string().contains("TooManyKeyUpdate"), "{error}");
}

#[test]
fn sessions_are_resumed() {
    for (name, _) in VERSIONS {
        let site = Site::new(name);
        let mut first = Pair::secured(&site, ALL);
        assert!(!first.server.is_resumed());
        first.answer(b"the tickets came before", ALL);
        let second = Pair::secured(&site, ALL);
        assert!(second.server.is_resumed());
        assert!(second.server.peer_certificates().is_some());
    }
}

/// Both sides talk at once, in pieces and buffers of random sizes.
#[test]
fn streams_arrive_as_they_were_sent() {
    for (name, version) in VERSIONS {
        let site = Site::new(name);
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut pair = Pair::secured(&site, 1 + random.usize(..2_000));
            let (mut said, mut answered, mut heard) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..100 {
                let bytes_max = 1 << random.usize(1..16);
                let bytes = random.usize(..bytes_max);
                let bytes: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
                match random.usize(..6) {
                    0 | 1 => {
                        pair.client_says(&bytes);
                        said.extend(bytes);
                    }
                    2 if version == ProtocolVersion::TLSv1_3 => {
                        pair.client.refresh_traffic_keys().unwrap();
                        pair.client_sends();
                    }
                    3 => {
                        pair.server.encrypt(&bytes).unwrap();
                        answered.extend(bytes);
                    }
                    4 => {
                        let outgoing = pair.server.outgoing();
                        let mut piece = &outgoing[..bytes.len().min(outgoing.len())];
                        let sent = pair.client.read_tls(&mut piece).unwrap();
                        pair.server.sent(sent);
                        pair.client.process_new_packets().unwrap();
                        let _ = pair.client.reader().read_to_end(&mut heard);
                    }
                    _ if pair.wire.is_empty() => {}
                    _ => pair
                        .receive(1 + bytes.len(), random.usize(..40_000))
                        .unwrap(),
                }
            }
            pair.receive_all(ALL, 1_000).unwrap();
            while !pair.server.outgoing().is_empty() {
                let sent = pair.client.read_tls(&mut pair.server.outgoing()).unwrap();
                pair.server.sent(sent);
                pair.client.process_new_packets().unwrap();
                let _ = pair.client.reader().read_to_end(&mut heard);
            }
            assert!(pair.read == said, "{name}, seed {seed}");
            assert!(heard == answered, "{name}, seed {seed}");
        }
    }
}

/// A session reads only what was sent, whichever byte was changed on the way, in the handshake or
/// after it.
#[test]
fn bytes_that_were_changed_are_noticed() {
    for (name, _) in VERSIONS {
        let site = Site::new(name);
        let mut noticed = 0;
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (piece, said) = (1 + random.usize(..500), numbered(2_000));
            let mut changes_at = random.usize(..6_000);
            let mut pair = site.open();
            let mut has_said = false;
            let outcome = loop {
                if !pair.client.is_handshaking() && !has_said {
                    has_said = true;
                    pair.client_says(&said);
                }
                pair.client_sends();
                if pair.wire.is_empty() {
                    break Ok(());
                }
                match pair.wire.get_mut(changes_at) {
                    Some(byte) => {
                        *byte ^= 1 << random.usize(..8);
                        changes_at = usize::MAX;
                    }
                    None => changes_at = changes_at.saturating_sub(pair.wire.len()),
                }
                if let Err(error) = pair.receive_all(piece, random.usize(..3_000)) {
                    break Err(error);
                }
                if pair.client_receives(piece).is_err() {
                    break Ok(());
                }
            };
            assert!(
                said.starts_with(&pair.read) && (outcome.is_ok() || pair.read.len() < said.len()),
                "{name}, seed {seed}: {outcome:?}"
            );
            noticed += usize::from(outcome.is_err());
        }
        assert!(noticed > 50, "{name}: {noticed} of 200");
    }
}
