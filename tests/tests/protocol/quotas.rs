//! Tests the requests about quotas: setting, describing, removing, and their errors.

use std::collections::BTreeMap;

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_client_quotas_request::{
    AlterClientQuotasRequestData, EntityData, EntryData, OpData,
};
use sedge_protocol::kafka::generated::alter_client_quotas_response::AlterClientQuotasResponseData;
use sedge_protocol::kafka::generated::create_topics_request::{
    CreatableTopic, CreateTopicsRequestData,
};
use sedge_protocol::kafka::generated::create_topics_response::CreateTopicsResponseData;
use sedge_protocol::kafka::generated::describe_client_quotas_request::{
    ComponentData, DescribeClientQuotasRequestData,
};
use sedge_protocol::kafka::generated::describe_client_quotas_response::DescribeClientQuotasResponseData;
use sedge_tests::ask;
use sedge_tests::wire::Connection;

use super::{Asked, error};

const INVALID_REQUEST: i16 = 42;
const THROTTLING_QUOTA_EXCEEDED: i16 = 89;
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// The type and name of each part of an entity; an empty name means the default.
type Parts<'a> = &'a [(&'a str, &'a str)];

fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

fn name(name: &str) -> Option<KafkaString> {
    (!name.is_empty()).then(|| text(name))
}

fn entry(parts: Parts<'_>, quotas: &[(&str, Option<f64>)]) -> EntryData {
    let entity = parts.iter().map(|(kind, of)| {
        EntityData::default()
            .with_entity_type(text(kind))
            .with_entity_name(name(of))
    });
    let ops = quotas.iter().map(|(key, value)| {
        OpData::default()
            .with_key(text(key))
            .with_value(value.unwrap_or_default())
            .with_remove(value.is_none())
    });
    EntryData::default()
        .with_entity(entity.collect())
        .with_ops(ops.collect())
}

/// Returns the error and message of each entity.
fn alter(
    connection: &mut Connection,
    entries: Vec<EntryData>,
    validate_only: bool,
) -> Vec<(i16, String)> {
    let request = AlterClientQuotasRequestData::default()
        .with_entries(entries)
        .with_validate_only(validate_only);
    let answer = ask!(connection, AlterClientQuotas 1, request => AlterClientQuotasResponseData);
    let entries = answer.entries.iter();
    entries
        .map(|entry| {
            let message = entry.error_message.as_ref().map(ToString::to_string);
            (entry.error_code, message.unwrap_or_default())
        })
        .collect()
}

fn describe(
    connection: &mut Connection,
    components: &[(&str, i8, Option<&str>)],
    strict: bool,
) -> DescribeClientQuotasResponseData {
    let components = components.iter().map(|(kind, match_type, of)| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(*match_type)
            .with_match(of.map(text))
    });
    let request = DescribeClientQuotasRequestData::default()
        .with_components(components.collect())
        .with_strict(strict);
    ask!(connection, DescribeClientQuotas 1, request => DescribeClientQuotasResponseData)
}

/// Returns the entities with this prefix in the name of a part, with their quotas.
fn found(
    connection: &mut Connection,
    components: &[(&str, i8, Option<&str>)],
    strict: bool,
) -> BTreeMap<String, String> {
    let answer = describe(connection, components, strict);
    assert_eq!(answer.error_code, error::NONE, "{:?}", answer.error_message);
    let entries = answer.entries.expect("a list").into_iter();
    entries
        .map(|entry| {
            let mut parts: Vec<_> = entry
                .entity
                .iter()
                .map(|part| format!("{}={:?}", part.entity_type, part.entity_name))
                .collect();
            parts.sort();
            let mut values: Vec<_> = entry
                .values
                .iter()
                .map(|value| format!("{}={}", value.key, value.value))
                .collect();
            values.sort();
            (parts.join(" "), values.join(" "))
        })
        .collect()
}

pub fn set_and_removed(asked: &mut Asked) {
    let connection = &mut asked.connection;
    let rate = |value| [("producer_byte_rate", value)];
    let all: [(Parts<'_>, f64); 5] = [
        (&[("user", "u")], 1e9),
        (&[("user", "u"), ("client-id", "")], 2e9),
        (&[("user", "u"), ("client-id", "c")], 3e9),
        (&[("user", "")], 4e9),
        (&[("client-id", "c")], 5e9),
    ];
    let set = |value: fn(f64) -> Option<f64>| {
        let all = all.iter();
        all.map(|(parts, of)| entry(parts, &rate(value(*of))))
            .collect::<Vec<_>>()
    };
    let ok = vec![(error::NONE, String::new()); all.len()];
    assert_eq!(alter(connection, set(Some), true), ok);
    assert_eq!(found(connection, &[], false).len(), 0);
    assert_eq!(alter(connection, set(Some), false), ok);
    let quota = [("connection_creation_rate", Some(1e6))];
    let address = vec![entry(&[("ip", "192.0.2.1")], &quota)];
    assert_eq!(alter(connection, address, false), ok[..1]);
    let two = [
        ("request_percentage", Some(250.5)),
        ("controller_mutation_rate", Some(1e5)),
    ];
    let more = vec![entry(&[("user", "u")], &two)];
    assert_eq!(alter(connection, more, false), ok[..1]);

    let mut check = |components: &[(&str, i8, Option<&str>)], strict, expected: usize| {
        let found = found(connection, components, strict);
        assert_eq!(found.len(), expected, "{components:?} {strict}: {found:?}");
    };
    check(&[], false, 6);
    check(&[], true, 0);
    check(&[("user", EXACT, Some("u"))], false, 3);
    check(&[("user", EXACT, Some("u"))], true, 1);
    check(&[("user", DEFAULT, None)], false, 1);
    check(&[("user", ANY, None)], true, 2);
    check(&[("user", ANY, None), ("client-id", ANY, None)], true, 2);
    check(&[("client-id", EXACT, Some("c"))], false, 2);
    check(&[("client-id", DEFAULT, None)], true, 0);
    check(&[("ip", ANY, None)], true, 1);
    check(&[("ip", EXACT, Some("192.0.2.2"))], true, 0);
    let found_ones = found(connection, &[("user", EXACT, Some("u"))], true);
    let quotas: Vec<_> = found_ones.values().collect();
    let expected =
        "controller_mutation_rate=100000 producer_byte_rate=1000000000 request_percentage=250.5";
    assert_eq!(quotas, [expected]);

    assert_eq!(alter(connection, set(|_| None), false), ok);
    // Removing a quota that is not set succeeds.
    assert_eq!(alter(connection, set(|_| None), false), ok);
    let rest = [
        ("request_percentage", None),
        ("controller_mutation_rate", None),
        ("x", None),
    ];
    let rest = vec![entry(&[("user", "u")], &rest)];
    assert_eq!(alter(connection, rest, false), ok[..1]);
    let rest = [("connection_creation_rate", None)];
    let rest = vec![entry(&[("ip", "192.0.2.1")], &rest)];
    assert_eq!(alter(connection, rest, false), ok[..1]);
    // An entity without quotas is not described.
    assert_eq!(found(connection, &[], false), BTreeMap::new());
}

pub fn that_cannot_be(asked: &mut Asked) {
    let connection = &mut asked.connection;
    let mut check = |parts: Parts<'_>, key: &str, value: f64, expected: &str| {
        let entries = vec![entry(parts, &[(key, Some(value))])];
        let answer = alter(connection, entries, true);
        let expected = vec![(INVALID_REQUEST, expected.to_owned())];
        assert_eq!(answer, expected, "{parts:?} {key}={value}");
    };
    let rate = "producer_byte_rate";
    let user: Parts<'_> = &[("user", "u")];
    check(&[], rate, 1.0, "Invalid empty client quota entity");
    let unknown = "Unhandled client quota entity type: group";
    check(&[("group", "g")], rate, 1.0, unknown);
    check(user, "rate", 1.0, "Invalid configuration key rate");
    check(
        user,
        rate,
        0.0,
        "Quota producer_byte_rate must be greater than 0",
    );
    check(
        user,
        rate,
        -1.0,
        "Quota producer_byte_rate must be greater than 0",
    );
    let fraction = "producer_byte_rate cannot be a fractional value.";
    check(user, rate, 1.5, fraction);
    let large = "Proposed value for producer_byte_rate is too large for a LONG.";
    check(user, rate, 1e19, large);
    let both = "Invalid quota entity combination, IP entity shouldnot be combined with User or \
                ClientId";
    check(&[("user", "u"), ("ip", "192.0.2.1")], rate, 1.0, both);
    let address: Parts<'_> = &[("ip", "192.0.2.1")];
    check(
        address,
        rate,
        1.0,
        "Invalid configuration key producer_byte_rate",
    );
    let large = "Proposed value for connection_creation_rate is too large for an INT.";
    check(address, "connection_creation_rate", 3e9, large);
    let bad = "no address is not a valid IP or resolvable host.";
    check(
        &[("ip", "no address")],
        "connection_creation_rate",
        1.0,
        bad,
    );

    // An error in one quota leaves the whole entity unchanged; other entities are changed.
    let entries = vec![
        entry(user, &[(rate, Some(1e9)), ("rate", Some(1.0))]),
        entry(&[("client-id", "c")], &[(rate, Some(1e9))]),
    ];
    let mut codes: Vec<i16> = alter(connection, entries, false)
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [error::NONE, INVALID_REQUEST]);
    let all = found(connection, &[], false);
    assert_eq!(all.len(), 1, "{all:?}");
    let entries = vec![entry(&[("client-id", "c")], &[(rate, None)])];
    alter(connection, entries, false);

    // Of an entity that is named twice, only the first entry is applied.
    let entries = vec![
        entry(user, &[(rate, Some(1e9))]),
        entry(user, &[(rate, Some(2e9))]),
    ];
    let answer = alter(connection, entries, true);
    let twice = "Ignoring duplicate entity ClientQuotaEntity(entries={user=u})";
    assert_eq!(answer, [(INVALID_REQUEST, twice.to_owned())]);
}

pub fn filters_that_cannot_be(asked: &mut Asked) {
    let connection = &mut asked.connection;
    let mut check = |components: &[(&str, i8, Option<&str>)], code: i16, message: &str| {
        let answer = describe(connection, components, false);
        let said = answer.error_message.map(|message| message.to_string());
        assert_eq!(
            (answer.error_code, said.as_deref(), answer.entries),
            (code, Some(message), None),
            "{components:?}"
        );
    };
    check(
        &[("", EXACT, Some("u"))],
        INVALID_REQUEST,
        "Invalid empty entity type.",
    );
    let unknown = "Unsupported entity type group";
    check(
        &[("group", DEFAULT, None)],
        error::UNSUPPORTED_VERSION,
        unknown,
    );
    let user = ("user", EXACT, Some("u"));
    let twice = "Entity type user cannot appear more than once in the filter.";
    check(&[user, user], INVALID_REQUEST, twice);
    let null = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
    check(&[("user", EXACT, None)], INVALID_REQUEST, null);
    let both = "Invalid entity filter component combination. IP filter component should not be \
                used with user or clientId filter component.";
    check(&[user, ("ip", ANY, None)], INVALID_REQUEST, both);
}

/// KIP-599: the burst of all windows, one request beyond it, and then none.
pub fn of_partitions(asked: &mut Asked) {
    const RATE: f64 = 2.0;
    const WINDOWS: i32 = 11;
    let topic = asked.topic.clone();
    let connection = &mut asked.connection;
    let key = "controller_mutation_rate";
    let everyone: Parts<'_> = &[("client-id", "")];
    let ok = [(error::NONE, String::new())];
    assert_eq!(
        alter(
            connection,
            vec![entry(everyone, &[(key, Some(RATE))])],
            false
        ),
        ok
    );
    let mut create = |number: usize, partitions: i32| {
        let name = format!("{topic}-{number}");
        let topic = CreatableTopic::default()
            .with_name(text(&name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequestData::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = ask!(connection, CreateTopics 7, request => CreateTopicsResponseData);
        let message = answer.topics[0]
            .error_message
            .as_ref()
            .map(ToString::to_string);
        (
            answer.topics[0].error_code,
            message,
            answer.throttle_time_ms,
        )
    };
    let burst = RATE as i32 * WINDOWS;
    // The quota may not have reached Apache Kafka's broker yet, which then lets more pass.
    let mut number = 0;
    let refused = loop {
        number += 1;
        let answer = create(number, burst + 2);
        if answer.0 != error::NONE {
            break answer;
        }
        assert!(number < 4, "nothing is refused");
    };
    let (code, message, throttle_ms) = refused;
    assert_eq!(code, THROTTLING_QUOTA_EXCEEDED);
    // Kafka leaves out the message if it is the code's default, which all clients have.
    let expected = "The throttling quota has been exceeded.";
    assert!(message.is_none_or(|message| message == expected));
    assert!((1..=1_000).contains(&throttle_ms), "{throttle_ms}");
    let (code, _, _) = create(number, 1);
    assert_eq!(code, error::NONE, "after the time that the client was told");
    alter(
        &mut asked.connection,
        vec![entry(everyone, &[(key, None)])],
        false,
    );
}
