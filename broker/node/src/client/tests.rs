//! Tests the client against misbehaving brokers: real sockets, scripted answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_executor::Executor;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use sedge_protocol::kafka::generated::{
    ApiKey, ApiVersion, ApiVersionsResponseData, InitProducerIdResponseData,
    MetadataResponseBroker, MetadataResponseData, MetadataResponsePartition, MetadataResponseTopic,
    PartitionProduceResponse, ProduceResponseData, TopicProduceResponse,
};
use sedge_protocol::kafka::version::response_header_version;
use sedge_protocol::{Bytes, BytesMut, ErrorCode};
use smol::net::{TcpListener, TcpStream};

use super::cluster::Target;
use super::{Client, ClientConfig, Error};

/// A request as the fake broker sees it.
struct Asked {
    key: i16,
    version: i16,
    correlation_id: i32,
    /// All of it, with the header.
    body: Vec<u8>,
}

/// The fake broker's reaction to a request.
enum Answer {
    Body(BytesMut),
    /// As soon as there is something to receive.
    Held(async_channel::Receiver<()>, BytesMut),
    /// Raw bytes, length included.
    Raw(Vec<u8>),
    Silence,
    Close,
}

async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let mut frame = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).await.ok()?;
    Some(Asked {
        key: i16::from_be_bytes([frame[0], frame[1]]),
        version: i16::from_be_bytes([frame[2], frame[3]]),
        correlation_id: i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]),
        body: frame,
    })
}

type Script = Arc<Mutex<dyn FnMut(usize, &Asked) -> Answer + Send>>;

/// Answers every connection by `script`, which is passed the number of the request over all
/// connections.
async fn serve(executor: Arc<Executor<'static>>, listener: TcpListener, script: Script) {
    let number = Arc::new(AtomicUsize::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        executor
            .spawn(answer(stream, Arc::clone(&number), Arc::clone(&script)))
            .detach();
    }
}

async fn answer(mut stream: TcpStream, number: Arc<AtomicUsize>, script: Script) {
    while let Some(asked) = read_request(&mut stream).await {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let answer = (script.lock().unwrap())(number, &asked);
        let answer = match answer {
            Answer::Held(held, body) => {
                held.recv().await.unwrap();
                Answer::Body(body)
            }
            answer => answer,
        };
        let bytes = match answer {
            Answer::Body(body) => {
                let flexible = response_header_version(asked.key, asked.version) >= 1;
                let length = 4 + usize::from(flexible) + body.len();
                let mut frame = (length as i32).to_be_bytes().to_vec();
                frame.extend_from_slice(&asked.correlation_id.to_be_bytes());
                if flexible {
                    frame.push(0);
                }
                frame.extend_from_slice(&body);
                frame
            }
            Answer::Raw(bytes) => bytes,
            Answer::Silence => continue,
            Answer::Held(..) | Answer::Close => return,
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

macro_rules! body {
    ($response:expr, $version:expr) => {{
        let mut body = BytesMut::new();
        $response.write(&mut body, $version).unwrap();
        Answer::Body(body)
    }};
}

mod login;

fn versions(version: i16) -> Answer {
    let apis = [
        (ApiKey::Produce, 0, 9),
        (ApiKey::Metadata, 0, 12),
        (ApiKey::ApiVersions, 0, 3),
        (ApiKey::InitProducerId, 0, 4),
        (ApiKey::SaslHandshake, 0, 1),
        (ApiKey::SaslAuthenticate, 0, 2),
    ];
    let api = |(key, min, max): &(ApiKey, i16, i16)| {
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_min_version(*min)
            .with_max_version(*max)
    };
    let response = ApiVersionsResponseData::default().with_api_keys(apis.iter().map(api).collect());
    body!(response, version)
}

/// Returns error 35 as in KIP-511: version 0, with the one range that helps.
fn version_too_new() -> Answer {
    let own = ApiVersion::default()
        .with_api_key(18)
        .with_min_version(0)
        .with_max_version(3);
    let response = ApiVersionsResponseData::default()
        .with_error_code(35)
        .with_api_keys(vec![own]);
    body!(response, 0)
}

/// Runs `client` against a fake broker with this script; `port` passes the port to the script.
fn run<T>(
    settings: impl FnOnce(&mut ClientConfig),
    script: impl FnMut(usize, &Asked) -> Answer + Send + 'static,
    client: impl AsyncFnOnce(Client) -> T,
) -> T {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    run_on(listener, settings, script, client)
}

fn run_on<T>(
    listener: std::net::TcpListener,
    settings: impl FnOnce(&mut ClientConfig),
    script: impl FnMut(usize, &Asked) -> Answer + Send + 'static,
    client: impl AsyncFnOnce(Client) -> T,
) -> T {
    let address = listener.local_addr().unwrap();
    let listener = TcpListener::from(smol::Async::try_from(listener).unwrap());
    let executor = Arc::new(Executor::new());
    let mut config = ClientConfig::new(vec![address.to_string()]);
    config.api_timeout = Duration::from_secs(20);
    settings(&mut config);
    let task = executor.spawn(serve(
        Arc::clone(&executor),
        listener,
        Arc::new(Mutex::new(script)),
    ));
    let handle = Client::new(Arc::clone(&executor), config);
    let result = future::block_on(executor.run(client(handle)));
    drop(task);
    result
}

fn producer_id(id: i64, version: i16) -> Answer {
    body!(
        InitProducerIdResponseData::default()
            .with_producer_id(id)
            .with_producer_epoch(0),
        version
    )
}

#[test]
fn falls_back_to_the_version_that_the_broker_names() {
    let script = |_: usize, asked: &Asked| match (asked.key, asked.version) {
        (18, 4) => version_too_new(),
        (18, version) => versions(version),
        (22, version) => producer_id(7, version),
        _ => Answer::Close,
    };
    let id = run(
        |_| {},
        script,
        async |client| client.init_producer_id().await.unwrap().0,
    );
    assert_eq!(id.get(), 7);
}

#[test]
fn falls_back_to_version_0_where_the_broker_names_none() {
    let script = |_: usize, asked: &Asked| match (asked.key, asked.version) {
        (18, 0) => versions(0),
        (18, _) => body!(ApiVersionsResponseData::default().with_error_code(35), 0),
        (22, version) => producer_id(8, version),
        _ => Answer::Close,
    };
    let id = run(
        |_| {},
        script,
        async |client| client.init_producer_id().await.unwrap().0,
    );
    assert_eq!(id.get(), 8);
}

#[test]
fn a_broken_connection_is_tried_again() {
    let script = |number: usize, asked: &Asked| match (number, asked.key) {
        (1 | 3, _) => Answer::Close,
        (_, 18) => versions(3),
        _ => producer_id(9, asked.version),
    };
    let id = run(
        |_| {},
        move |number, asked| match (asked.key, asked.version) {
            (18, 4) => version_too_new(),
            _ => script(number - 1, asked),
        },
        async |client| client.init_producer_id().await.unwrap().0,
    );
    assert_eq!(id.get(), 9);
}

#[test]
fn an_answer_over_the_limit_is_refused_before_it_is_read() {
    let error = run(
        |_| {},
        |_, _| Answer::Raw(vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        async |client| client.init_producer_id().await.unwrap_err(),
    );
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(!error.is_retriable());
}

#[test]
fn an_answer_to_another_question_ends_the_connection() {
    let script = |_: usize, asked: &Asked| match asked.key {
        18 => versions_or_fallback(asked),
        _ => Answer::Raw(vec![0, 0, 0, 4, 0x7f, 0, 0, 1]),
    };
    let error = run(
        |_| {},
        script,
        async |client| client.init_producer_id().await.unwrap_err(),
    );
    assert!(matches!(error, Error::NotKafka), "{error}");
}

#[test]
fn an_unreadable_answer_is_an_error() {
    let script = |_: usize, asked: &Asked| match asked.key {
        18 => versions_or_fallback(asked),
        _ => Answer::Body(BytesMut::from(&[1, 2, 3][..])),
    };
    let error = run(
        |_| {},
        script,
        async |client| client.init_producer_id().await.unwrap_err(),
    );
    assert!(
        matches!(
            error,
            Error::Malformed {
                api: ApiKey::InitProducerId,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn silence_is_a_timeout_and_closes_the_connection() {
    let script = |_: usize, asked: &Asked| match asked.key {
        18 => versions_or_fallback(asked),
        _ => Answer::Silence,
    };
    let settings = |config: &mut ClientConfig| {
        config.request_timeout = Duration::from_millis(50);
        config.api_timeout = Duration::ZERO;
    };
    let error = run(settings, script, async |client: Client| {
        let connection = client.connection(Target::Any).await.unwrap();
        let error = client.init_producer_id().await.unwrap_err();
        assert!(connection.is_closed());
        error
    });
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.is_retriable());
}

#[test]
fn many_callers_share_one_connection_and_each_gets_its_own_answer() {
    let mut connections = 0;
    let script = move |number: usize, asked: &Asked| match asked.key {
        18 => {
            connections += usize::from(asked.version == 4);
            assert_eq!(connections, 1, "a second connection at request {number}");
            versions_or_fallback(asked)
        }
        _ => producer_id(i64::from(asked.correlation_id), asked.version),
    };
    let ids = run(
        |_| {},
        script,
        async |client: Client| {
            let executor: Executor<'_> = Executor::new();
            let calls: Vec<_> = (0..50)
                .map(|_| executor.spawn(async { client.init_producer_id().await.unwrap().0.get() }))
                .collect();
            let all = async {
                let mut ids = Vec::new();
                for call in calls {
                    ids.push(call.await);
                }
                ids
            };
            executor.run(all).await
        },
    );
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..50).collect::<Vec<i64>>());
}

#[test]
fn a_full_window_starts_nothing() {
    let script = |_: usize, asked: &Asked| match asked.key {
        18 => versions_or_fallback(asked),
        _ => Answer::Silence,
    };
    run(
        |config| config.in_flight_max = 2,
        script,
        async |client: Client| {
            let connection = client.connection(Target::Any).await.unwrap();
            let request = sedge_protocol::produce::Produce::new(1, None);
            let first = connection.place().unwrap();
            let first = connection.start(&request, first).unwrap();
            let second = connection.place().unwrap();
            assert!(connection.place().is_none());
            connection.close();
            assert!(matches!(first.wait().await, Err(Error::Closed)));
            let late = connection.start(&request, second);
            assert!(matches!(late, Err(Error::Closed)));
        },
    );
}

#[test]
fn a_produce_follows_the_leader() {
    // No leader at first; then a broker that denies being it; then the real one.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut asked_for_metadata = 0;
    let mut produced = 0;
    let script = move |_: usize, asked: &Asked| match asked.key {
        18 => versions_or_fallback(asked),
        3 => {
            asked_for_metadata += 1;
            body!(
                metadata(port, if asked_for_metadata == 1 { -1 } else { 1 }),
                asked.version
            )
        }
        0 => {
            produced += 1;
            let code = if produced == 1 {
                ErrorCode::NotLeaderOrFollower
            } else {
                ErrorCode::None
            };
            body!(produce_response(code, 41), asked.version)
        }
        _ => Answer::Close,
    };
    let offset = run_on(
        listener,
        |_| {},
        script,
        async |client: Client| {
            let mut bytes = Bytes::from(empty_batch());
            let batch = sedge_protocol::batch::Batch::split_from(&mut bytes).unwrap();
            client.produce("t", 0, &batch).await.unwrap()
        },
    );
    assert_eq!(offset.get(), 41);
}

#[test]
fn a_topic_that_went_away_is_forgotten() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut answers = 0;
    let script = move |_: usize, asked: &Asked| {
        if asked.key == ApiKey::ApiVersions as i16 {
            return versions_or_fallback(asked);
        }
        answers += 1;
        let mut answer = metadata(port, 1);
        if answers > 1 {
            answer.topics.clear();
        }
        body!(answer, asked.version)
    };
    run_on(
        listener,
        |_| {},
        script,
        async |client: Client| {
            assert_eq!(client.leader("t", 0).await.unwrap(), 1);
            assert_eq!(client.known_leader("t", 0), Some(1));
            client.refresh(&["t"]).await.unwrap();
            assert_eq!(client.known_leader("t", 0), None);
            let error = client.leader("t", 0).await.unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
        },
    );
}

fn versions_or_fallback(asked: &Asked) -> Answer {
    if asked.version > 3 {
        version_too_new()
    } else {
        versions(asked.version)
    }
}

fn metadata(port: u16, leader: i32) -> MetadataResponseData {
    let broker = MetadataResponseBroker::default()
        .with_node_id(1)
        .with_host("127.0.0.1".to_owned().into())
        .with_port(i32::from(port));
    let partition = MetadataResponsePartition::default()
        .with_partition_index(0)
        .with_leader_id(leader);
    let topic = MetadataResponseTopic::default()
        .with_name(Some("t".to_owned().into()))
        .with_partitions(vec![partition]);
    MetadataResponseData::default()
        .with_brokers(vec![broker])
        .with_controller_id(1)
        .with_topics(vec![topic])
}

fn produce_response(code: ErrorCode, offset: i64) -> ProduceResponseData {
    let partition = PartitionProduceResponse::default()
        .with_error_code(code.code())
        .with_base_offset(offset);
    let topic = TopicProduceResponse::default()
        .with_name("t".to_owned().into())
        .with_partition_responses(vec![partition]);
    ProduceResponseData::default().with_responses(vec![topic])
}

/// Returns a header with nothing behind it: the fake broker does not decode it.
fn empty_batch() -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&49_i32.to_be_bytes());
    batch
}
