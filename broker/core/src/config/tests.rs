use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::AlterOp::{Append, Delete, Set, Subtract};
use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[test]
fn tables_are_in_order_and_their_defaults_are_taken() {
    for table in [
        TOPIC_KEYS,
        BROKER_KEYS,
        IDLE_BROKER_KEYS,
        CLIENT_METRICS_KEYS,
    ] {
        assert!(table.is_sorted_by(|one, other| one.name < other.name));
        for key in table {
            if let Some(default) = key.default {
                key.check(default)
                    .unwrap_or_else(|error| panic!("{}", error.message));
            }
            for synonym in key.synonyms {
                assert!(
                    broker_key(synonym).is_some(),
                    "{} names {synonym}",
                    key.name
                );
            }
        }
    }
}

#[test]
fn values_are_checked_by_type_and_range() {
    let table = [
        ("retention.ms", "1", true),
        ("retention.ms", " 1 ", true),
        ("retention.ms", "-1", true),
        ("retention.ms", "-2", false),
        ("retention.ms", "one", false),
        ("retention.ms", "9223372036854775807", true),
        ("retention.ms", "9223372036854775808", false),
        ("max.message.bytes", "2147483648", false),
        ("cleanup.policy", "compact, delete", true),
        ("cleanup.policy", "shred", false),
        ("min.cleanable.dirty.ratio", "0.25", true),
        ("min.cleanable.dirty.ratio", "1.5", false),
        ("preallocate", "yes", false),
        ("preallocate", "True", true),
        ("preallocate", " FALSE ", true),
        ("remote.storage.enable", "False", true),
        ("remote.storage.enable", "True", false),
        ("message.timestamp.type", "LogAppendTime", true),
        ("message.timestamp.type", " LogAppendTime ", true),
        ("sedge.filter.on.error", "fail-open", true),
        ("sedge.filter.on.error", "ignore", false),
    ];
    for (name, value, good) in table {
        let result = topic_key(name).unwrap().check(value);
        assert_eq!(result.is_ok(), good, "{name}={value}: {result:?}");
    }
}

#[test]
fn a_topic_falls_back_to_the_broker_and_then_to_the_default() {
    let check = |own: &[(&str, &str)], file: &[(&str, &str)], dynamic: &[(&str, &str)]| {
        let defaults = BrokerDefaults::new(&map(file)).with(Place::AllBrokers, &map(dynamic));
        TopicConfig::effective(&map(own), &defaults).retention_ms()
    };
    assert_eq!(check(&[], &[], &[]), Some(604_800_000));
    assert_eq!(
        check(&[], &[("log.retention.hours", "1")], &[]),
        Some(3_600_000)
    );
    assert_eq!(check(&[], &[("log.retention.hours", "-1")], &[]), None);
    let both = [("log.retention.hours", "1"), ("log.retention.minutes", "2")];
    assert_eq!(check(&[], &both, &[]), Some(120_000));
    assert_eq!(check(&[], &both, &[("log.retention.ms", "7")]), Some(7));
    assert_eq!(
        check(
            &[("retention.ms", "3")],
            &both,
            &[("log.retention.ms", "7")]
        ),
        Some(3)
    );
    assert_eq!(check(&[("retention.ms", "-1")], &both, &[]), None);
}

#[test]
fn a_topic_reads_what_it_sets() {
    let own = map(&[
        ("cleanup.policy", "compact,delete"),
        ("flush.messages", "1"),
        ("sedge.durability", "interval"),
        ("sedge.filter", "one, two"),
        ("sedge.filter.fetch", "two,three"),
        ("sedge.filter.fetch.on.error", "fail-open"),
        ("sedge.filter.fetch.principals", "User:a, User:b"),
        ("sedge.filter.fetch.partitions", "0,2-3"),
        ("sedge.filter.on.error", "quarantine"),
        ("sedge.filter.errors.deadletterqueue.topic.name", "dead"),
        ("sedge.filter.routes", "late, broken"),
        ("sedge.partitioner", " geohash "),
        ("sedge.partitioner.on.error", "fail-open"),
        ("sedge.plugin.one.max", "40"),
        ("sedge.plugin.one.min", "-10"),
        ("sedge.plugin.oneself.max", "1"),
        ("message.timestamp.type", " LogAppendTime "),
    ]);
    let config = TopicConfig::effective(&own, &BrokerDefaults::default());
    assert!(config.is_compacted() && config.is_deleted_by_retention());
    assert!(config.is_log_append_time() && config.filters_writes_to(9));
    assert_eq!(config.is_sync(), Some(true));
    assert_eq!(config.filters(), ["one", "two"]);
    assert_eq!(config.on_filter_error(), OnPluginError::Quarantine);
    assert_eq!(config.filter_routes(), ["late", "broken"]);
    assert_eq!(config.dead_letter_topic(), Some("dead"));
    assert_eq!(config.fetch_filters(), ["two", "three"]);
    assert_eq!(config.on_fetch_filter_error(), OnPluginError::FailOpen);
    assert!(config.filters_reads("User:b", 3) && !config.filters_reads("User:b", 1));
    assert!(!config.filters_reads("User:c", 3));
    let all: Vec<_> = config.all_filters().collect();
    assert_eq!(all, ["one", "two", "three"]);
    assert_eq!(config.partitioner(), Some("geohash"));
    assert_eq!(config.on_partitioner_error(), OnPluginError::FailOpen);
    let settings: Vec<_> = config.plugin_settings("one").collect();
    assert_eq!(settings, [("max", "40"), ("min", "-10")]);

    let plain = TopicConfig::default();
    assert!(
        !plain.is_compacted() && plain.is_deleted_by_retention() && !plain.filters_writes_to(0)
    );
    assert_eq!((plain.is_sync(), plain.retention_bytes()), (None, None));
    assert!(plain.fetch_filters().is_empty() && !plain.filters_reads("User:b", 0));
    let of_all = map(&[("sedge.filter.fetch", "two")]);
    let of_all = TopicConfig::effective(&of_all, &BrokerDefaults::default());
    assert!(of_all.filters_reads("User:c", 7) && !of_all.filters_writes_to(7));
    let of_some = map(&[("sedge.filter", "two"), ("sedge.filter.partitions", "1")]);
    let of_some = TopicConfig::effective(&of_some, &BrokerDefaults::default());
    assert!(of_some.filters_writes_to(1) && !of_some.filters_writes_to(0));
    assert_eq!(of_all.on_fetch_filter_error(), OnPluginError::FailClosed);
    assert_eq!(plain.max_message_bytes(), 1_048_588);
    assert_eq!(plain.timestamp_before_max_ms(), i64::MAX);
}

#[test]
fn changes_are_planned_or_refused_as_a_whole() {
    let current = map(&[("cleanup.policy", "compact"), ("retention.ms", "1")]);
    let broker = BrokerDefaults::default();
    let alter = |ops: &[(&'static str, AlterOp, Option<&'static str>)]| {
        plan_alter(Resource::Topic, &current, &broker, ops.iter().copied())
            .map(|changes| {
                changes
                    .into_iter()
                    .map(|(name, value)| (name, value.unwrap_or("-".into())))
                    .collect()
            })
            .map_err(|error| (error.code, error.message))
    };
    let one = |name: &str, value: &str| {
        Ok::<Vec<_>, _>(alloc::vec![(name.to_string(), value.to_string())])
    };
    let invalid = |message: &str| Err((ErrorCode::InvalidConfig, message.to_string()));
    let request = |message: &str| Err((ErrorCode::InvalidRequest, message.to_string()));

    assert_eq!(
        alter(&[("retention.ms", Set, Some("5"))]),
        one("retention.ms", "5")
    );
    assert_eq!(
        alter(&[("retention.ms", Delete, None)]),
        one("retention.ms", "-")
    );
    assert_eq!(
        alter(&[("cleanup.policy", Append, Some("delete"))]),
        one("cleanup.policy", "compact,delete")
    );
    assert_eq!(
        alter(&[("cleanup.policy", Append, Some("compact"))]),
        one("cleanup.policy", "compact")
    );
    assert_eq!(
        alter(&[("cleanup.policy", Subtract, Some("compact"))]),
        one("cleanup.policy", "")
    );
    assert_eq!(
        alter(&[("sedge.filter", Append, Some("a,b"))]),
        one("sedge.filter", "a,b")
    );
    assert_eq!(
        alter(&[("sedge.plugin.a.max", Set, Some("5"))]),
        one("sedge.plugin.a.max", "5")
    );
    assert_eq!(
        alter(&[("retention.ms", Append, Some("5"))]),
        invalid("Can't Append to key retention.ms because its type is not LIST")
    );
    assert_eq!(
        alter(&[("retention.msec", Set, Some("5"))]),
        invalid("Unknown topic config name: retention.msec; did you mean retention.ms?")
    );
    assert_eq!(
        alter(&[("retention.ms", Set, None)]),
        request("Null value not supported for: retention.ms")
    );
    assert_eq!(
        alter(&[("flush.ms", Delete, None), ("flush.ms", Set, Some("1"))]),
        request("Duplicate config key: flush.ms")
    );
    let broker_only_file = plan_alter(
        Resource::AllBrokers,
        &current,
        &broker,
        [("node.id", Set, Some("2"))],
    );
    assert_eq!(
        broker_only_file.unwrap_err().code,
        ErrorCode::InvalidRequest
    );
}

#[test]
fn an_unknown_key_can_be_removed_but_not_set() {
    let current = map(&[("from.another.version", "1")]);
    let broker = BrokerDefaults::default();
    for resource in [Resource::Topic, Resource::AllBrokers] {
        let alter = |op, value| {
            plan_alter(
                resource,
                &current,
                &broker,
                [("from.another.version", op, value)],
            )
        };
        assert_eq!(
            alter(Delete, None).unwrap(),
            [("from.another.version".into(), None)]
        );
        assert_eq!(
            alter(Set, Some("2")).unwrap_err().code,
            ErrorCode::InvalidConfig
        );
    }
}

#[test]
fn compaction_lags_that_contradict_each_other_are_refused() {
    let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    let broker = BrokerDefaults::default();
    let code = |result: Result<_, ConfigError>| result.map(|_| ()).map_err(|error| error.code);
    let invalid = Err(ErrorCode::InvalidConfig);

    let new = |least, most| {
        code(plan_new_topic(&broker, [(min, Some(least)), (max, Some(most))]).map(|_| Vec::new()))
    };
    assert_eq!(new("10", "5"), invalid);
    assert_eq!(new("5", "5"), Ok(()));

    let current = map(&[(max, "5")]);
    let set = [(min, Set, Some("10"))];
    let alter =
        |resource, broker: &BrokerDefaults| code(plan_alter(resource, &current, broker, set));
    assert_eq!(alter(Resource::Topic, &broker), invalid);
    let raised = [(min, Set, Some("10")), (max, Delete, None)];
    assert_eq!(
        code(plan_alter(Resource::Topic, &current, &broker, raised)),
        Ok(())
    );
    let replaced = [(min, Some("10"))];
    assert_eq!(
        code(plan_replace(Resource::Topic, &current, &broker, replaced)),
        Ok(()),
        "what is not named goes back to its default"
    );

    let set = [("log.cleaner.min.compaction.lag.ms", Set, Some("10"))];
    let own = map(&[("log.cleaner.max.compaction.lag.ms", "5")]);
    assert_eq!(
        code(plan_alter(Resource::AllBrokers, &own, &broker, set)),
        Err(ErrorCode::InvalidRequest)
    );
}

#[test]
fn a_new_topic_s_setting_without_a_value_is_refused() {
    let refused = plan_new_topic(&BrokerDefaults::default(), [("retention.ms", None)]);
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidConfig);
}

#[test]
fn the_older_request_sets_back_what_it_does_not_name() {
    let current = map(&[("cleanup.policy", "compact"), ("retention.ms", "1")]);
    let changes = plan_replace(
        Resource::Topic,
        &current,
        &BrokerDefaults::default(),
        [("retention.ms", Some("9"))],
    )
    .unwrap();
    let expected = [
        ("cleanup.policy".into(), None),
        ("retention.ms".into(), Some("9".into())),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn what_is_described_says_where_it_comes_from() {
    let broker = BrokerDefaults::new(&map(&[("log.retention.hours", "1")]));
    let find = |described: Vec<Described>, name: &str| {
        described.into_iter().find(|one| one.name == name).unwrap()
    };
    let plain = find(
        describe_topic(&BTreeMap::new(), &BrokerDefaults::default()),
        "retention.ms",
    );
    assert_eq!(
        (plain.value.as_deref(), plain.source),
        (Some("604800000"), Source::Default)
    );

    let from_file = find(describe_topic(&BTreeMap::new(), &broker), "retention.ms");
    assert_eq!(from_file.value.as_deref(), Some("3600000"));
    assert_eq!(from_file.source, Source::StaticBroker);
    let first = &from_file.synonyms[0];
    assert_eq!(
        (first.name.as_str(), first.value.as_deref()),
        ("log.retention.hours", Some("1"))
    );

    let own = map(&[("retention.ms", "5"), ("sedge.plugin.a.b", "c")]);
    let described = describe_topic(&own, &broker);
    assert_eq!(described.len(), TOPIC_KEYS.len() + 1);
    let own = find(described, "retention.ms");
    assert_eq!(
        (own.value.as_deref(), own.source),
        (Some("5"), Source::Topic)
    );
    assert_eq!(own.synonyms.len(), 3);

    let dynamic = broker.with(Place::ThisBroker, &map(&[("log.retention.ms", "7")]));
    let set = find(describe_broker(&dynamic), "log.retention.ms");
    assert_eq!(
        (set.value.as_deref(), set.source),
        (Some("7"), Source::DynamicBroker)
    );
    assert!(!set.is_read_only);
    assert!(find(describe_broker(&dynamic), "node.id").is_read_only);
}

#[test]
fn a_quota_policy_and_its_settings_are_set_while_the_broker_runs() {
    let file = map(&[
        ("sedge.quota.policy", "old"),
        ("sedge.plugin.tenants.rate", "1"),
        ("sedge.plugin.tenants.burst", "2"),
    ]);
    let file = BrokerDefaults::new(&file);
    assert_eq!(file.quota_policy(), Some("old"));
    assert_eq!(BrokerDefaults::default().quota_policy(), None);
    let ops = [
        ("sedge.quota.policy", Set, Some(" tenants ")),
        ("sedge.plugin.tenants.rate", Set, Some("5")),
    ];
    let changes = plan_alter(Resource::AllBrokers, &BTreeMap::new(), &file, ops).unwrap();
    let set = changes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let both = file.with(Place::AllBrokers, &set.collect());
    assert_eq!(both.quota_policy(), Some("tenants"));
    let settings: Vec<_> = both.plugin_settings("tenants").collect();
    assert_eq!(settings, [("burst", "2"), ("rate", "5")]);
    let described = describe_broker(&both);
    assert_eq!(
        described.len(),
        BROKER_KEYS.len() + IDLE_BROKER_KEYS.len() + 2,
        "each once"
    );
    for (name, value, source) in [
        (
            "sedge.plugin.tenants.rate",
            "5",
            Source::DynamicDefaultBroker,
        ),
        ("sedge.plugin.tenants.burst", "2", Source::StaticBroker),
    ] {
        let entry = described.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(
            (entry.value.as_deref(), entry.source),
            (Some(value), source)
        );
    }
    let unbound = file.with(Place::AllBrokers, &map(&[("sedge.quota.policy", "")]));
    assert_eq!(unbound.quota_policy(), None);
}

#[test]
fn a_broker_s_own_setting_comes_before_that_of_all_brokers_and_the_file() {
    let name = "log.retention.ms";
    let file = BrokerDefaults::new(&map(&[(name, "1"), ("log.retention.hours", "2")]));
    let all = file.with(Place::AllBrokers, &map(&[(name, "3")]));
    let own = all.with(Place::ThisBroker, &map(&[(name, "4")]));
    let topic =
        |broker: &BrokerDefaults| TopicConfig::effective(&BTreeMap::new(), broker).retention_ms();
    assert_eq!(
        (topic(&file), topic(&all), topic(&own)),
        (Some(1), Some(3), Some(4))
    );
    let described = describe_broker(&own);
    let entry = described.iter().find(|entry| entry.name == name).unwrap();
    assert_eq!(
        (entry.value.as_deref(), entry.source),
        (Some("4"), Source::DynamicBroker)
    );
    let synonyms: Vec<_> = entry
        .synonyms
        .iter()
        .map(|of| (of.name.as_str(), of.value.as_deref().unwrap(), of.source))
        .collect();
    let expected = [
        (name, "4", Source::DynamicBroker),
        (name, "3", Source::DynamicDefaultBroker),
        (name, "1", Source::StaticBroker),
        ("log.retention.hours", "2", Source::StaticBroker),
        ("log.retention.hours", "168", Source::Default),
    ];
    assert_eq!(synonyms, expected);
    let of_all = describe_all_brokers(&own);
    assert_eq!(of_all.len(), 1);
    assert_eq!(of_all[0].synonyms.len(), 1);
    assert_eq!(of_all[0].value.as_deref(), Some("3"));
    assert!(describe_all_brokers(&file).is_empty());
}

#[test]
fn a_broker_s_settings_are_refused_with_kafka_s_codes() {
    let broker = BrokerDefaults::default();
    let check = |name: &'static str, op, value, expected: Option<ErrorCode>| {
        for resource in [Resource::AllBrokers, Resource::ThisBroker] {
            let done = plan_alter(resource, &BTreeMap::new(), &broker, [(name, op, value)]);
            let code = done.err().map(|error| error.code);
            assert_eq!(code, expected, "{resource:?} {name} {op:?} {value:?}");
        }
    };
    let (request, invalid) = (
        Some(ErrorCode::InvalidRequest),
        Some(ErrorCode::InvalidConfig),
    );
    check("log.retention.ms", Set, Some("1"), None);
    check("log.retention.ms", Set, Some("x"), request);
    check("log.retention.ms", Set, None, request);
    check("log.retention.ms", Append, Some("1"), invalid);
    check("log.cleanup.policy", Append, Some("compact"), None);
    check("num.partitions", Set, Some("2"), request);
    check("num.partitions", Delete, None, None);
    check("none", Delete, None, None);
    check("listener.name.a.max.connections", Set, Some("1"), request);
    // Kafka takes any name; here a wrong one is told.
    check("none", Set, Some("1"), invalid);
}
