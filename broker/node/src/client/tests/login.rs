//! Tests logins against brokers that refuse them, ask for further messages, or limit their
//! lifetime.

use std::collections::BTreeMap;

use sedge_protocol::kafka::generated::{SaslAuthenticateResponseData, SaslHandshakeResponseData};

use super::*;

const HANDSHAKE: i16 = ApiKey::SaslHandshake as i16;
const AUTHENTICATE: i16 = ApiKey::SaslAuthenticate as i16;

fn with_login(config: &mut ClientConfig) {
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                username=\"alice\" password=\"s3cret\";";
    let keys = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", jaas),
    ];
    let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
    config.apply(&BTreeMap::from(keys)).unwrap();
}

fn mechanisms(code: ErrorCode, names: &[&'static str], asked: &Asked) -> Answer {
    let names = names.iter().map(|name| (*name).to_owned().into()).collect();
    let response = SaslHandshakeResponseData::default()
        .with_error_code(code.code())
        .with_mechanisms(names);
    body!(response, asked.version)
}

fn welcome(lifetime_ms: i64, asked: &Asked) -> Answer {
    let response = SaslAuthenticateResponseData::default().with_session_lifetime_ms(lifetime_ms);
    body!(response, asked.version)
}

/// Runs a client with a login against a broker that answers by `script`.
fn failure(script: impl FnMut(&Asked) -> Answer + Send + 'static) -> String {
    let mut script = script;
    let error = run(
        with_login,
        move |_, asked| match asked.key {
            18 => versions_or_fallback(asked),
            _ => script(asked),
        },
        async |client| client.init_producer_id().await.unwrap_err(),
    );
    assert!(matches!(error, Error::Login { .. }), "{error}");
    assert!(!error.is_retriable());
    let error = error.to_string();
    assert!(!error.contains("s3cret"), "{error}");
    error
}

#[test]
fn a_client_logs_in_before_it_asks_anything() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let script = move |_: usize, asked: &Asked| {
        seen.lock().unwrap().push(asked.key);
        match asked.key {
            18 => versions_or_fallback(asked),
            HANDSHAKE => mechanisms(ErrorCode::None, &[], asked),
            AUTHENTICATE => {
                let has = |part: &[u8]| asked.body.windows(part.len()).any(|of| of == part);
                assert!(has(b"\0alice\0s3cret"), "{:?}", asked.body);
                welcome(0, asked)
            }
            _ => producer_id(7, asked.version),
        }
    };
    let id = run(with_login, script, async |client| {
        client.init_producer_id().await.unwrap().0
    });
    assert_eq!(id.get(), 7);
    assert_eq!(*keys.lock().unwrap(), [18, 18, HANDSHAKE, AUTHENTICATE, 22]);
}

#[test]
fn a_refused_login_is_final_and_says_what_the_broker_says() {
    let said = failure(|asked| {
        if asked.key == HANDSHAKE {
            return mechanisms(ErrorCode::None, &[], asked);
        }
        let response = SaslAuthenticateResponseData::default()
            .with_error_code(ErrorCode::SaslAuthenticationFailed.code())
            .with_error_message(Some("not\nwelcome".to_owned().into()));
        body!(response, asked.version)
    });
    assert!(
        said.contains("notwelcome") && said.contains("sasl.jaas.config"),
        "{said}"
    );
}

#[test]
fn another_mechanism_is_named() {
    let code = ErrorCode::UnsupportedSaslMechanism;
    let names = ["GSSAPI", "SCRAM-SHA-512"];
    let said = failure(move |asked| mechanisms(code, &names, asked));
    assert!(said.contains("GSSAPI, SCRAM-SHA-512"), "{said}");
}

#[test]
fn a_listener_that_asks_for_no_login_is_told_apart() {
    let said = failure(|asked| mechanisms(ErrorCode::IllegalSaslState, &[], asked));
    assert!(said.contains("asks for no login"), "{said}");
}

#[test]
fn a_broker_that_asks_for_more_gets_nothing() {
    let said = failure(|asked| {
        if asked.key == HANDSHAKE {
            return mechanisms(ErrorCode::None, &[], asked);
        }
        let more = Bytes::from_static(b"your other password?");
        let response = SaslAuthenticateResponseData::default().with_auth_bytes(more);
        body!(response, asked.version)
    });
    assert!(said.contains("asks for more"), "{said}");
}

/// KIP-368. Requests in flight are answered first.
#[test]
fn a_login_is_renewed_before_its_time_is_over() {
    let (open, held) = async_channel::bounded(1);
    let logins = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&logins);
    let script = move |_: usize, asked: &Asked| match asked.key {
        18 => versions_or_fallback(asked),
        HANDSHAKE => mechanisms(ErrorCode::None, &[], asked),
        AUTHENTICATE => {
            let is_first = seen.fetch_add(1, Ordering::Relaxed) == 0;
            welcome(if is_first { 1_000 } else { 0 }, asked)
        }
        _ if seen.load(Ordering::Relaxed) == 1 => match producer_id(1, asked.version) {
            Answer::Body(body) => Answer::Held(held.clone(), body),
            other => other,
        },
        _ => producer_id(2, asked.version),
    };
    run(with_login, script, async |client: Client| {
        let old = client.connection(Target::Any).await.unwrap();
        let request = sedge_protocol::kafka::generated::InitProducerIdRequestData::default();
        let first = old.start(&request, old.place().unwrap()).unwrap();
        while !old.is_closed() {
            async_io::Timer::after(Duration::from_millis(10)).await;
        }
        // Another caller waits, because its request has to follow the earlier ones.
        let next = client.init_producer_id();
        futures_lite::pin!(next);
        assert!(future::poll_once(&mut next).await.is_none());
        assert_eq!(logins.load(Ordering::Relaxed), 1);
        open.send(()).await.unwrap();
        assert_eq!(first.wait().await.unwrap().producer_id, 1);
        assert_eq!(next.await.unwrap().0.get(), 2);
        assert_eq!(logins.load(Ordering::Relaxed), 2);
    });
}
