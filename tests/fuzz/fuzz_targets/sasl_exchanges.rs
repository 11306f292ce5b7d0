//! Logins: the broker's side of each mechanism, and the client's side of SCRAM, accept any bytes.
//! Only the bytes of a client that knows the password log in.

#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use sedge_core::base64;
use sedge_core::security::Users;
use sedge_core::security::sasl::{Credentials, Exchange, Passwords, Plain, Scram, Step, Token};
use sedge_core::security::scram::{Client, ClientFirst, Mechanism};

/// A user table without users, so that no login succeeds.
#[derive(Debug)]
struct Nobody;

impl Credentials for Nobody {
    fn users(&self) -> Arc<Users> {
        static USERS: OnceLock<Arc<Users>> = OnceLock::new();
        Arc::clone(USERS.get_or_init(Arc::default))
    }

    fn token(&self, _: &str, _: Mechanism) -> Option<Token> {
        None
    }
}

/// Sends the messages of a client. All are refused, at the latest when the exchange ends.
fn run(exchange: &mut dyn Exchange, messages: &[&[u8]]) {
    for message in messages {
        match exchange.step(message) {
            Step::Continue(_) => {}
            Step::Done(done) => panic!("logged in: {done:?}"),
            Step::Refused(refused) => {
                assert_eq!(refused.message, None);
                assert!(!refused.why.contains(char::is_control), "{}", refused.why);
                return;
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let messages: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(3).collect();
    let mechanism = if data.len() % 2 == 0 {
        Mechanism::Sha256
    } else {
        Mechanism::Sha512
    };
    run(
        &mut Scram::new(mechanism, Nobody, "broker".into()),
        &messages,
    );
    let passwords = Passwords::new(&[7; 32], std::iter::empty());
    run(&mut Plain::new(passwords), &[data]);

    let (mut client, first) = Client::begin(mechanism, "alice", false, "nonce");
    if let Some([said, last]) = messages.first_chunk() {
        // With a real answer of a broker, as far as the bytes are one.
        if client.answer(said, "password").is_ok() {
            assert!(client.finish(last).is_err());
        }
    }
    let read = ClientFirst::read(&first).expect("the client's own message");
    assert_eq!(read.user, "alice");
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(bytes) = base64::decode(text)
    {
        assert_eq!(base64::encode(&bytes), text);
    }
});
