//! The configuration in the form that the broker uses: typed, checked, complete.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sedge_core::config::{ConfigKey, STANDARD_AUTHORIZER};
use sedge_core::security::Authorizer;

use super::address_limits::{AddressLimits, parse_of_listener, parse_overrides};
use super::console::{self, ConsoleConfig, ConsoleTokens};
use super::creation_rates::CreationRates;
use super::delegation_tokens::DelegationTokens;
use super::error::Problem;
use super::gateway::{GatewayConfig, gateways};
use super::link::LinkConfig;
use super::links::links;
use super::listeners::{self, INSECURE_ALLOWED, ListenerConfig, MAX_CONNECTIONS, split_override};
use super::public_keys::{PublicKey, parse_public_keys};
use super::sasl::ListenerSasl;
use super::values::{self, parse_number};
use super::{Setting, Settings, Source, Value, keys};
use crate::limits::{ANSWER_BYTES_MIN, CONNECTION_BYTES, TLS_CONNECTION_BYTES};
use crate::process::secret::HIDDEN;
use crate::tls::{KeyError, ServerTls};

/// Presets for sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For a device with little memory and flash.
    Small,
    /// For any other machine.
    Standard,
}

/// The condition for acknowledging a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The write is on flash.
    Sync,
    /// The operating system has the write; it is flushed to flash every `flush.ms`.
    Interval,
}

/// The sizes of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Cache of the views.
    pub cache_bytes: u64,
    /// View updates kept in memory before they are flushed, in bytes.
    pub views_flush_bytes: u64,
    /// Freed segment files that are kept for reuse.
    pub spare_segments_max: usize,
}

/// Limits on the use of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that the data directory may use; below 0 no limit, `None` a share of the volume.
    pub max_bytes: Option<i64>,
    /// Bytes written in a day above which the log warns, and cleaning is postponed if possible.
    pub budget_bytes: Option<u64>,
    /// Bytes that may be written to the device in its life.
    pub endurance_bytes: Option<u64>,
}

/// Settings of the scrub, which reads stored data to find bit rot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// Rate of the scrub; 0 disables it.
    pub bytes_per_second: u64,
    /// Time from the beginning of a round to that of the next.
    pub interval_ms: u64,
}

/// The limits of plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Memory of one instance.
    pub memory_bytes_max: u64,
    /// Memory of all instances together.
    pub memory_total_bytes_max: u64,
    /// Time for one batch.
    pub deadline_ms: u64,
    /// Largest answer to one batch.
    pub output_bytes_max: u64,
    /// Largest component.
    pub component_bytes_max: u64,
    /// Failures of a new version after which the broker goes back to the one before; 0: never.
    pub rollback_failures: u64,
    /// Memory of the state of all filters.
    pub state_bytes_max: u64,
    /// Memory of the state of one filter for one partition.
    pub state_partition_bytes_max: u64,
    /// File with the key that seals machine code compiled elsewhere.
    pub signing_key: Option<PathBuf>,
    /// Ed25519 keys of those who may deploy plugins. Empty: signatures are not needed.
    pub trusted_keys: Vec<PublicKey>,
}

/// Sizes of a connection's kernel buffers; `None` uses the system default.
#[derive(Debug, Clone, Copy)]
pub struct SocketBuffers {
    pub send: Option<usize>,
    pub receive: Option<usize>,
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Presets for sizes.
    pub profile: Profile,
    /// This broker's number.
    pub node_id: i32,
    /// Identity of the cluster, if the configuration fixes it.
    pub cluster_id: Option<String>,
    /// The data directory.
    pub data: PathBuf,
    /// The listeners, at least one.
    pub listeners: Vec<ListenerConfig>,
    /// Whether listeners that other machines reach may be without authentication.
    pub insecure_listeners_allowed: bool,
    /// The console, if it is enabled.
    pub console: Option<ConsoleConfig>,
    /// Whether the system may keep the memory of a broker that crashed.
    pub core_dumps_allowed: bool,
    /// A warning that what started this process wants shown.
    pub notice: Option<String>,
    /// The condition for acknowledging a write.
    pub durability: Durability,
    /// How often data is flushed to flash with [`Durability::Interval`].
    pub flush_ms: u64,
    /// The sizes of the store.
    pub storage: Storage,
    /// Limits on the use of the device.
    pub disk: Disk,
    /// Settings of the scrub.
    pub scrub: Scrub,
    /// Threads of the executor.
    pub num_network_threads: usize,
    /// Bytes of requests that the process holds at once.
    pub queued_max_request_bytes: usize,
    /// Bytes of answers that the process holds at once: what is left of `sedge.memory.max.bytes`.
    pub answer_bytes: usize,
    /// Kernel buffers of connections.
    pub socket_buffers: SocketBuffers,
    /// Largest request, in bytes.
    pub socket_request_max_bytes: usize,
    /// Open connections at once.
    pub max_connections: usize,
    /// Connections that are accepted in a second.
    pub creation_rates: CreationRates,
    /// Open connections at once of each address.
    pub address_limits: AddressLimits,
    /// Time after which an idle connection is closed.
    pub connections_max_idle_ms: u64,
    /// Largest frame before authentication, in bytes.
    pub sasl_server_max_receive_size: usize,
    /// Time after which a client is told that its authentication failed.
    pub failed_authentication_delay: Duration,
    /// Says what clients may do. `None`: everything.
    pub authorizer: Option<Authorizer>,
    /// Makes delegation tokens. `None`: there are none.
    pub delegation_tokens: Option<DelegationTokens>,
    /// The limits of plugins.
    pub plugin: Plugin,
    /// The links of the mirror.
    pub links: Vec<LinkConfig>,
    /// The gateways for microcontrollers.
    pub gateways: Vec<GatewayConfig>,
    /// The broker's Kafka keys that were set; topics fall back to them. Already checked.
    pub broker: BTreeMap<String, String>,
    /// All values that were set, with their sources.
    pub settings: Settings,
}

const MIB: u64 = 1 << 20;

/// Checks every setting and builds the configuration. If there are problems, the result must not be
/// used.
pub(super) fn build(settings: Settings, problems: &mut Vec<Problem>) -> Config {
    check_values(&settings, problems);
    let links = links(&settings, problems);
    let gateways = gateways(&settings, problems);
    let mut reader = Reader {
        settings: &settings,
        problems,
    };
    let small = reader.text("sedge.profile") == "small";
    let sized = |small_size: u64, standard: u64| if small { small_size } else { standard };
    let mut config = Config {
        profile: if small {
            Profile::Small
        } else {
            Profile::Standard
        },
        node_id: reader.number("node.id", 0) as i32,
        cluster_id: reader.parsed("cluster.id", values::parse_cluster_id),
        data: reader
            .parsed("log.dirs", values::parse_data)
            .unwrap_or_default(),
        listeners: reader.listeners(),
        insecure_listeners_allowed: reader.is_on(INSECURE_ALLOWED),
        core_dumps_allowed: reader.is_on("sedge.core.dumps.allowed"),
        console: reader.console(),
        notice: reader.parsed("sedge.notice", |text| Ok(text.to_owned())),
        durability: match reader.text("durability") {
            "interval" => Durability::Interval,
            _ => Durability::Sync,
        },
        flush_ms: reader.number("flush.ms", 0),
        storage: Storage {
            segment_bytes: reader.number("sedge.segment.bytes", sized(16, 64) * MIB),
            cache_bytes: reader.number("sedge.cache.bytes", sized(1, 16) * MIB),
            views_flush_bytes: reader.number("sedge.views.flush.bytes", sized(1, 4) * MIB),
            spare_segments_max: reader.number("sedge.segment.spares", 0) as usize,
        },
        disk: Disk {
            max_bytes: reader.parsed("sedge.disk.max.bytes", parse_number),
            budget_bytes: reader.parsed("sedge.disk.write.budget.bytes.per.day", parse_number),
            endurance_bytes: reader.parsed("sedge.disk.endurance.bytes", parse_number),
        },
        scrub: Scrub {
            bytes_per_second: reader.number("sedge.scrub.bytes.per.second", 0),
            interval_ms: reader.number("sedge.scrub.interval.ms", 0),
        },
        num_network_threads: reader.number("num.network.threads", sized(1, 2)) as usize,
        queued_max_request_bytes: reader.number("queued.max.request.bytes", sized(16, 128) * MIB)
            as usize,
        answer_bytes: 0,
        socket_buffers: SocketBuffers {
            send: reader.text("socket.send.buffer.bytes").parse().ok(),
            receive: reader.text("socket.receive.buffer.bytes").parse().ok(),
        },
        socket_request_max_bytes: reader.number("socket.request.max.bytes", 0) as usize,
        max_connections: reader.number(MAX_CONNECTIONS, 0) as usize,
        creation_rates: reader.creation_rates(),
        address_limits: reader.address_limits(),
        connections_max_idle_ms: reader.number("connections.max.idle.ms", 0),
        sasl_server_max_receive_size: reader.number("sasl.server.max.receive.size", 0) as usize,
        failed_authentication_delay: Duration::from_millis(
            reader.number("connection.failed.authentication.delay.ms", 0),
        ),
        authorizer: reader.authorizer(),
        delegation_tokens: DelegationTokens::read(|key| reader.text(key)),
        plugin: Plugin {
            memory_bytes_max: reader.number("plugin.memory.bytes", 0),
            memory_total_bytes_max: reader
                .number("plugin.memory.total.bytes", sized(64, 256) * MIB),
            deadline_ms: reader.number("plugin.deadline.ms", 0),
            output_bytes_max: reader.number("plugin.output.bytes", 0),
            component_bytes_max: reader.number("plugin.component.bytes", 0),
            rollback_failures: reader.number("plugin.rollback.failures", 0),
            state_bytes_max: reader.number("plugin.state.bytes", 0),
            state_partition_bytes_max: reader.number("plugin.state.partition.bytes", 0),
            signing_key: reader.parsed("plugin.signing.key", |path| Ok(PathBuf::from(path))),
            trusted_keys: reader
                .parsed("plugin.trusted.keys", parse_public_keys)
                .unwrap_or_default(),
        },
        links,
        gateways,
        broker: broker_keys(&settings),
        settings: Settings::default(),
    };
    // A request that does not fit the pool would be admitted alone, beyond the pool's size.
    config.socket_request_max_bytes = config
        .socket_request_max_bytes
        .min(config.queued_max_request_bytes);
    config.answer_bytes = reader.answer_bytes(&config, sized(64, 320) * MIB);
    config.settings = settings;
    config
}

impl Config {
    /// Returns the part of `sedge.memory.max.bytes` that answers cannot have.
    fn memory_besides_answers(&self) -> u64 {
        let requests = self.queued_max_request_bytes + self.socket_request_max_bytes;
        let connections = self.max_connections * self.connection_bytes();
        (requests + connections) as u64 + self.storage.cache_bytes + self.storage.views_flush_bytes
    }

    /// Returns the bytes reserved for each connection, of whichever listener.
    fn connection_bytes(&self) -> usize {
        let has_tls = self.listeners.iter().any(|of| of.protocol.has_tls());
        CONNECTION_BYTES + if has_tls { TLS_CONNECTION_BYTES } else { 0 }
    }

    /// Returns the most memory that requests, answers, connections and the views take.
    pub fn memory_max_bytes(&self) -> u64 {
        self.memory_besides_answers() + self.answer_bytes as u64
    }
}

/// Checks values against the table of keys.
fn check_values(settings: &Settings, problems: &mut Vec<Problem>) {
    for (key, setting) in settings.iter() {
        if let Some(Err(error)) = keys::find(key).map(|known| known.check(setting.value.text())) {
            // The message names the key and the value itself.
            let marker = format!("configuration {key}: ");
            let why = error
                .message
                .split_once(&marker)
                .map_or(&*error.message, |(_, why)| why);
            problems.push(Problem::of(key, setting, why.to_owned()));
        }
    }
}

/// What topics fall back to and DescribeConfigs shows: that a secret is set, not what it is.
fn broker_keys(settings: &Settings) -> BTreeMap<String, String> {
    let of_broker = settings.iter().filter(|(key, _)| keys::is_broker_key(key));
    let shown = |key: &str, value: &Value| match keys::find(key) {
        Some(known) if known.is_sensitive() => HIDDEN.to_owned(),
        _ => value.text().to_owned(),
    };
    of_broker
        .map(|(key, setting)| (key.to_owned(), shown(key, &setting.value)))
        .collect()
}

/// Returns the name of the key of the listener `name` alone.
fn own_key(name: &str, key: &str) -> String {
    format!("listener.name.{}.{key}", name.to_lowercase())
}

/// Reads single values, with defaults from the table of keys. Types and ranges were checked before;
/// further conditions are checked here.
struct Reader<'a> {
    settings: &'a Settings,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> &str {
        let set = self.settings.get(key);
        let set = set.map(|setting| setting.value.text().trim());
        set.or_else(|| keys::find(key)?.default).unwrap_or_default()
    }

    /// Returns a number. `by_profile` is the default of keys without a fixed one.
    fn number(&self, key: &str, by_profile: u64) -> u64 {
        self.text(key).parse().unwrap_or(by_profile)
    }

    fn is_on(&self, key: &str) -> bool {
        self.text(key).eq_ignore_ascii_case("true")
    }

    fn parsed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match (self.settings.get(key), self.text(key)) {
            (None, "") => None,
            (None, default) => parse(default).ok(),
            (Some(setting), text) => match parse(text) {
                Ok(value) => Some(value),
                Err(why) => {
                    self.problems.push(Problem::of(key, setting, why));
                    None
                }
            },
        }
    }

    /// Returns what `sedge.memory.max.bytes` leaves for answers. If it is not set, returns
    /// `by_profile`, or what the other keys require.
    fn answer_bytes(&mut self, config: &Config, by_profile: u64) -> usize {
        const KEY: &str = "sedge.memory.max.bytes";
        let besides = config.memory_besides_answers();
        let least = besides + ANSWER_BYTES_MIN as u64;
        let memory = self.number(KEY, by_profile.max(least));
        if memory < least
            && let Some(setting) = self.settings.get(KEY)
        {
            let why = format!(
                "the least is {least}: queued.max.request.bytes and one request more, \
                 {} bytes for each of max.connections, sedge.cache.bytes, \
                 sedge.views.flush.bytes, and {ANSWER_BYTES_MIN} for answers",
                config.connection_bytes()
            );
            self.problems.push(Problem::of(KEY, setting, why));
        }
        memory.saturating_sub(besides) as usize
    }

    fn creation_rates(&mut self) -> CreationRates {
        let mut refuse =
            |key: &str, of: &Setting, why| self.problems.push(Problem::of(key, of, why));
        CreationRates::read(self.settings, &mut refuse)
    }

    fn address_limits(&mut self) -> AddressLimits {
        const MAX: &str = "max.connections.per.ip";
        let overrides = self.parsed("max.connections.per.ip.overrides", parse_overrides);
        let (overrides, max) = (overrides.unwrap_or_default(), self.number(MAX, 0) as usize);
        if let Some(setting) = self.settings.get(MAX)
            && max == 0
            && overrides.is_empty()
        {
            let why = "0 lets nobody connect; it needs a max.connections.per.ip.overrides";
            self.problems
                .push(Problem::of(MAX, setting, why.to_owned()));
        }
        AddressLimits::new(max, overrides)
    }

    fn authorizer(&mut self) -> Option<Authorizer> {
        let super_users = self.parsed("super.users", values::parse_super_users);
        let everyone = self.text("allow.everyone.if.no.acl.found");
        let authorizer = Authorizer {
            allow_everyone_if_no_acl_found: everyone.eq_ignore_ascii_case("true"),
            super_users: super_users.unwrap_or_default(),
        };
        (self.text("authorizer.class.name") == STANDARD_AUTHORIZER).then_some(authorizer)
    }

    fn console(&mut self) -> Option<ConsoleConfig> {
        const ADDRESS: &str = "sedge.console";
        let tokens = ConsoleTokens {
            viewer: self.parsed(console::TOKEN, console::parse_token),
            metrics: self.parsed(console::METRICS_TOKEN, console::parse_token),
            device: self.parsed(console::DEVICE_TOKEN, console::parse_token),
        };
        let (address, has_tls) = self.parsed(ADDRESS, console::parse_address).flatten()?;
        if let Some(why) = tokens.insecurity_as_written(&address)
            && !self.is_on(INSECURE_ALLOWED)
            && let Some(setting) = self.settings.get(ADDRESS)
        {
            self.problems.push(Problem::of(ADDRESS, setting, why));
        }
        let tls = has_tls.then(|| self.tls_of(listeners::CONSOLE, ADDRESS));
        Some(ConsoleConfig {
            address,
            tokens,
            tls: tls.flatten(),
        })
    }

    fn listeners(&mut self) -> Vec<ListenerConfig> {
        let map = self.parsed("listener.security.protocol.map", listeners::parse_protocols);
        let map = map.unwrap_or_default();
        let parse = |text: &str| listeners::parse_listeners(text, &map);
        let mut listeners = self.parsed("listeners", parse).unwrap_or_default();
        self.check_overrides(&listeners);
        for listener in &mut listeners {
            self.load_tls(listener);
            self.load_sasl(listener);
            let key = own_key(&listener.name, MAX_CONNECTIONS);
            listener.max_connections = self.parsed(&key, parse_of_listener);
        }
        // A listener whose TLS files cannot be loaded has been reported already.
        let mut loaded = listeners
            .iter()
            .filter(|of| of.protocol.has_tls() == of.tls.is_some());
        let why = loaded.find_map(ListenerConfig::insecurity_as_written);
        if let Some(why) = why
            && !self.is_on(INSECURE_ALLOWED)
            && let Some(setting) = self.settings.get("listeners")
        {
            self.problems.push(Problem::of("listeners", setting, why));
        }
        self.parsed("advertised.listeners", |text| {
            listeners::advertise(listeners.clone(), text)
        })
        .unwrap_or(listeners)
    }

    /// Reports keys of single listeners whose listener does not exist.
    fn check_overrides(&mut self, listeners: &[ListenerConfig]) {
        for (key, setting) in self.settings.iter() {
            let Some((name, _)) = split_override(key) else {
                continue;
            };
            let is_there = |of: &ListenerConfig| of.name.eq_ignore_ascii_case(name);
            let is_console = name.eq_ignore_ascii_case(listeners::CONSOLE);
            if !is_console && !listeners.iter().any(is_there) {
                let why = format!(
                    "there is no listener named {}; add it to listeners, or remove the key",
                    name.to_uppercase()
                );
                self.problems.push(Problem::of(key, setting, why));
            }
        }
    }

    /// Loads the certificates of a TLS listener.
    fn load_tls(&mut self, listener: &mut ListenerConfig) {
        if listener.protocol.has_tls() {
            listener.tls = self.tls_of(&listener.name, "listeners");
        }
    }

    /// Loads the certificates of the listener `name`, which the key `needed_by` configures.
    fn tls_of(&mut self, name: &str, needed_by: &str) -> Option<Arc<ServerTls>> {
        let loaded = ServerTls::load(&|key| self.of_listener(name, key));
        self.loaded(name, needed_by, loaded)
    }

    /// Reads the mechanisms of a listener with SASL.
    fn load_sasl(&mut self, listener: &mut ListenerConfig) {
        if listener.protocol.has_sasl() {
            let name = &listener.name;
            let read = ListenerSasl::read(&|key| self.of_listener(name, key));
            listener.sasl = self.loaded(name, "listeners", read);
        }
    }

    /// Returns the value of a key of a listener: its own, or the one of all.
    fn of_listener(&self, name: &str, key: &str) -> Option<String> {
        let own = self.settings.get(&own_key(name, key));
        let set = own.or_else(|| self.settings.get(key));
        let set = set.map(|setting| setting.value.text().trim().to_owned());
        set.filter(|value| !value.is_empty())
    }

    fn loaded<T>(
        &mut self,
        name: &str,
        needed_by: &str,
        loaded: Result<T, KeyError>,
    ) -> Option<Arc<T>> {
        let KeyError { key, why } = match loaded {
            Ok(loaded) => return Some(Arc::new(loaded)),
            Err(error) => error,
        };
        let own = own_key(name, key);
        let set = self
            .settings
            .get(&own)
            .map(|setting| (own.as_str(), setting));
        let set = set.or_else(|| self.settings.get(key).map(|setting| (key, setting)));
        let unset = self.not_set(needed_by);
        // A key that only a listener has is missing under the listener's name.
        let missing = if keys::is_known(key) { key } else { &own };
        let (key, setting) = set.unwrap_or((missing, &unset));
        let why = format!("listener {name}: {why}");
        self.problems.push(Problem::of(key, setting, why));
        None
    }

    /// Returns the setting of a missing key for error messages, with the source of the key that
    /// requires it.
    fn not_set(&self, needed_by: &str) -> Setting {
        let source = self.settings.get(needed_by);
        Setting {
            value: Value::Plain("(not set)".to_owned()),
            source: source.map_or(Source::Default, |setting| setting.source.clone()),
        }
    }
}

impl Config {
    /// Returns the key's value and source.
    pub fn effective(&self, key: &ConfigKey) -> Setting {
        let default = || match self.by_profile(key.name) {
            Some(value) => (value.to_string(), Source::Profile),
            None => (key.default.unwrap_or_default().to_owned(), Source::Default),
        };
        let set = self.settings.get(key.name).cloned();
        set.unwrap_or_else(|| {
            let (value, source) = default();
            let value = Value::Plain(value);
            Setting { value, source }
        })
    }

    fn by_profile(&self, key: &str) -> Option<u64> {
        match key {
            "num.network.threads" => Some(self.num_network_threads as u64),
            "queued.max.request.bytes" => Some(self.queued_max_request_bytes as u64),
            "sedge.memory.max.bytes" => Some(self.memory_max_bytes()),
            "sedge.cache.bytes" => Some(self.storage.cache_bytes),
            "sedge.segment.bytes" => Some(self.storage.segment_bytes),
            "sedge.views.flush.bytes" => Some(self.storage.views_flush_bytes),
            _ => None,
        }
    }
}
