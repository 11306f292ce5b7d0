use std::ffi::OsString;
use std::path::Path;

use super::*;

fn load_text(
    text: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, String> {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    file::parse(Path::new("f.toml"), text, &mut settings, &mut problems);
    let variables = variables
        .iter()
        .map(|(n, v)| (OsString::from(n), OsString::from(v)));
    environment::apply(environment::read(variables), &mut settings);
    for (key, value) in flags {
        settings.put(key, value, Source::Flag);
    }
    names::check(&mut settings, &mut problems);
    let config = typed::build(settings, &mut problems);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { problems }.to_string())
    }
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let flags = Flags::default();
    let config = load_from(&flags, Path::new("/nonexistent"), std::iter::empty()).unwrap();
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:9092");
    let console = config.console.unwrap();
    assert_eq!(console.address.to_string(), "127.0.0.1:9644");
    assert_eq!(config.data, Path::new("sedge-data"));
    assert_eq!(config.durability, Durability::Sync);
}

#[test]
fn the_defaults_shown_are_the_defaults_used() {
    let nothing = load_text("", &[], &[]).unwrap();
    let mut text = String::new();
    for key in keys::all() {
        use std::fmt::Write as _;
        let value = nothing.effective(key).value.to_string();
        if !value.is_empty() {
            writeln!(text, "\"{}\" = \"{value}\"", key.name).unwrap();
        }
    }
    let shown = load_text(&text, &[], &[]).unwrap();
    let plain = |config: &Config| {
        let mut config = config.clone();
        config.settings = Settings::default();
        config.broker.clear();
        format!("{config:?}")
    };
    assert_eq!(plain(&nothing), plain(&shown));
}

#[test]
fn a_key_without_a_name_is_refused() {
    let refused = load_text("flush.ms = 7\n'' = 1", &[], &[]).unwrap_err();
    assert!(refused.contains("the key is empty"), "{refused}");
}

#[test]
fn the_three_ways_of_writing_a_key_are_one() {
    for text in [
        "\"flush.ms\" = 7",
        "flush.ms = 7",
        "[flush]\nms = 7",
        "flush = { ms = \"7\" }",
    ] {
        assert_eq!(load_text(text, &[], &[]).unwrap().flush_ms, 7, "{text}");
    }
}

#[test]
fn later_sources_override_earlier_ones() {
    let file = "flush.ms = 1\nnode.id = 1\nmax.connections = 1";
    let variables = [("SEDGE_NODE_ID", "2"), ("SEDGE_MAX_CONNECTIONS", "2")];
    let config = load_text(file, &variables, &[("max.connections", "3")]).unwrap();
    assert_eq!(
        (config.flush_ms, config.node_id, config.max_connections),
        (1, 2, 3)
    );
    let source = |key: &str| config.settings.get(key).unwrap().source.to_string();
    assert_eq!(source("flush.ms"), "f.toml:1");
    assert_eq!(source("node.id"), "environment SEDGE_NODE_ID");
    assert_eq!(source("max.connections"), "command line");
}

#[test]
fn a_profile_sets_sizes_that_a_key_overrides() {
    let config = load_text("sedge.profile = \"small\"", &[], &[]).unwrap();
    assert_eq!(config.storage.segment_bytes, 16 << 20);
    assert_eq!(config.num_network_threads, 1);
    let flags = [("sedge.segment.bytes", "8388608")];
    let config = load_text("sedge.profile = \"small\"", &[], &flags).unwrap();
    assert_eq!(config.storage.segment_bytes, 8 << 20);
}

#[test]
fn a_link_is_a_table() {
    let text = "[mirror.hq]\nbootstrap.servers = \"h:9092\"\ntopics = [\"a.*\", \"b\"]";
    let config = load_text(text, &[], &[]).unwrap();
    let [link] = &config.links[..] else {
        panic!("{:?}", config.links);
    };
    assert_eq!(link.name, "hq");
    let taken = ["a.b", "b", "b.c"].map(|topic| link.selection.takes(topic));
    assert_eq!(taken, [true, true, false]);
}

#[test]
fn what_is_wrong_is_said() {
    let check = |text: &str, parts: &[&str]| {
        let error = load_text(text, &[], &[]).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{text}: {error}");
        }
    };
    check(
        "\n\nlistner = \"x:1\"",
        &["f.toml:3", "`listner`", "did you mean `listeners`?"],
    );
    check("flush.ms = 0", &["flush.ms = 0", "at least 1"]);
    check("flush.ms = \"soon\"", &["Not a number"]);
    check("durability = \"never\"", &["sync, interval"]);
    check(
        "listeners = \"SASL_PLAINTEXT://x:1\"\n\"sasl.enabled.mechanisms\" = \"PLAIN\"",
        &[
            "listener.name.sasl_plaintext.plain.sasl.jaas.config",
            "user_NAME",
        ],
    );
    check(
        "listeners = \"SASL_SSL://x:1\"\n\"sasl.enabled.mechanisms\" = \"GSSAPI\"",
        &[
            "f.toml:2",
            "ssl.keystore.location",
            "GSSAPI",
            "SCRAM-SHA-512",
        ],
    );
    check("listeners = \"A://x:1\"", &["add A:PLAINTEXT"]);
    check(
        "listeners = \":9092\"",
        &[
            "0.0.0.0",
            "listen on 127.0.0.1",
            "sedge.insecure.listeners.allowed=true",
        ],
    );
    check(
        "listener.security.protocol.map = \"A:TLS\"",
        &["`TLS` is not a security protocol"],
    );
    check("listeners = []", &["no address is given"]);
    check("log.dirs = [\"a\", \"b\"]", &["one directory"]);
    check("node.id = 1979-05-27", &["a date"]);
    check("node.id = ", &["f.toml:1"]);
    check(
        "node.id=1\nlog.dirs=/var/lib/kafka\n",
        &[
            "f.toml:2",
            "\"log.dirs\" = \"/var/lib/kafka\"",
            "NAME.properties",
        ],
    );
    check("zookeper = \"x\"", &["config dump --effective"]);
    check("\"flush.ms\" = 1\n[flush]\nms = 2", &["flush.ms", "line 1"]);
    check(
        "[mirror.hq]\ntopcis = \"a\"",
        &["did you mean `mirror.hq.topics`?"],
    );
    let link = "[mirror.hq]\ntopics = \"a\"";
    check(
        link,
        &[
            "f.toml:2",
            "mirror.hq.bootstrap.servers",
            "this key is required",
        ],
    );
    let link = "[mirror.hq]\nbootstrap.servers = \"h:1\"\ntopics = \"a\"\nmode = \"at-most-once\"";
    check(
        link,
        &["f.toml:4", "mirror.hq.mode = at-most-once", "at-least-once"],
    );
    check("flush.ms = 0\nnode.id = -1", &["flush.ms", "node.id"]);
    check("sedge.console = \"9644\"", &["off"]);
}

#[test]
fn listeners_have_the_protocols_of_the_map() {
    let text = "listeners = [\"IN://127.0.0.1:1\", \"out://127.0.0.1:2\"]\n\
        listener.security.protocol.map = \"IN:PLAINTEXT,OUT:plaintext\"\n\
        advertised.listeners = \"OUT://edge.example:9092\"";
    let config = load_text(text, &[], &[]).unwrap();
    let shown: Vec<_> = config
        .listeners
        .iter()
        .map(|of| (of.name.as_str(), of.protocol.name(), of.advertised.clone()))
        .collect();
    let outside = HostPort::parse("edge.example:9092").ok();
    let expected = [("IN", "PLAINTEXT", None), ("OUT", "PLAINTEXT", outside)];
    assert_eq!(shown, expected);
}

#[test]
fn a_listener_may_have_its_own_rate_of_connections() {
    let two = ("listeners", "A://127.0.0.1:1,B://127.0.0.1:2");
    let map = ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT");
    let own = "listener.name.b.max.connection.creation.rate";
    let load = |rate| load_text("", &[], &[two, map, (own, rate)]);
    let rates = load("20").unwrap().creation_rates;
    assert_eq!(rates.broker, None);
    assert_eq!(
        rates.listeners.into_iter().collect::<Vec<_>>(),
        [("B".to_owned(), 20)]
    );
    assert!(load("0").unwrap_err().contains(own));
    let all = [("max.connection.creation.rate", "7")];
    assert_eq!(
        load_text("", &[], &all).unwrap().creation_rates.broker,
        Some(7)
    );
}

#[test]
fn connections_are_limited_by_broker_listener_and_address() {
    let text = "listeners = \"LAN://127.0.0.1:1,WAN://127.0.0.1:2\"\n\
                listener.security.protocol.map = \"LAN:PLAINTEXT,WAN:PLAINTEXT\"\n";
    let flags = [
        ("listener.name.wan.max.connections", "7"),
        ("max.connections.per.ip", "0"),
        ("max.connections.per.ip.overrides", "192.0.2.7:3"),
    ];
    let config = load_text(text, &[], &flags).unwrap();
    let of = |at: usize| config.listeners[at].max_connections;
    assert_eq!((of(0), of(1)), (None, Some(7)));
    let limit = |address: &str| config.address_limits.of(address.parse().unwrap());
    assert_eq!((limit("192.0.2.7"), limit("192.0.2.8")), (3, 0));

    let nobody = load_text(text, &[], &flags[1..2]).unwrap_err();
    assert!(
        nobody.contains("needs a max.connections.per.ip.overrides"),
        "{nobody}"
    );
    let none = [("listener.name.wan.max.connections", "0")];
    let none = load_text(text, &[], &none).unwrap_err();
    assert!(none.contains("listener.name.wan.max.connections"), "{none}");
}

#[test]
fn a_variable_that_is_no_key_is_a_warning() {
    // Kubernetes sets SEDGE_PORT in every pod beside a service called sedge.
    let config = load_text("", &[("SEDGE_PORT", "tcp://10.0.0.1:9092")], &[]).unwrap();
    assert!(config.settings.warnings[0].contains("SEDGE_PORT"));
}

/// The keys that Kafka 4.3's own `config/server.properties` sets.
#[test]
fn a_server_properties_is_read() {
    let text = "# comment\nprocess.roles=broker,controller\nnode.id=7\n\
        controller.quorum.bootstrap.servers=localhost:9093\nlisteners=PLAINTEXT://:9092\n\
        inter.broker.listener.name=PLAINTEXT\nadvertised.listeners=PLAINTEXT://localhost:9092\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
        num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
        socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n\
        log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
        num.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n\
        share.coordinator.state.topic.replication.factor=1\n\
        share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\n\
        transaction.state.log.min.isr=1\nlog.retention.hours=168\n\
        log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";
    let name = format!("sedge-{}-server.properties", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let load = |values: &[(&str, &str)]| {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let flags = Flags {
            file: Some(path.clone()),
            values: values.iter().map(owned).collect(),
        };
        load_from(&flags, Path::new("/nonexistent"), std::iter::empty())
    };
    // Kafka listens where all can connect.
    let refused = load(&[]).unwrap_err();
    let config = load(&[(listeners::INSECURE_ALLOWED, "true")]);
    std::fs::remove_file(&path).unwrap();
    let [problem] = &refused.problems[..] else {
        panic!("{refused}");
    };
    let refused = problem.to_string();
    assert!(refused.contains(listeners::INSECURE_ALLOWED), "{refused}");
    let config = config.unwrap();
    assert_eq!((config.node_id, config.num_network_threads), (7, 3));
    assert_eq!(config.data, Path::new("/tmp/kraft-combined-logs"));
    assert_eq!(config.settings.file, Some(path));
    let roles = config
        .settings
        .warnings
        .iter()
        .find(|of| of.contains("process.roles"));
    assert!(
        roles
            .unwrap()
            .contains("The controller runs inside the broker")
    );
}

#[test]
fn a_missing_file_is_refused_when_it_was_named() {
    let flags = Flags {
        file: Some("/nonexistent/x.toml".into()),
        values: Vec::new(),
    };
    let error = load_from(&flags, Path::new("/nonexistent"), std::iter::empty()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/x.toml"));
}
