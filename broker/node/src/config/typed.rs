//! The configuration as the broker reads it: typed, checked, complete.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::Problem;
use super::values::{self, HostPort, Listener};
use super::{Setting, Settings, Source, keys};

/// Presets for the sizes of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For a device with little memory and flash.
    Small,
    /// For anything else.
    Standard,
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is on flash.
    Sync,
    /// When the operating system has it; it is forced to flash every `flush.ms`.
    Interval,
}

/// The sizes of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Cache of the views.
    pub cache_bytes: u64,
    /// Changes of views kept in memory before they are written.
    pub views_flush_bytes: u64,
}

/// The limits of plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Memory of one instance.
    pub memory_bytes_max: u64,
    /// Time for one batch.
    pub deadline_ms: u64,
    /// Largest answer to one batch.
    pub output_bytes_max: u64,
    /// Largest component.
    pub component_bytes_max: u64,
}

/// A link, as its table says. The mirror reads the properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorTable {
    /// The link's name.
    pub name: String,
    /// Its keys, without `mirror.NAME.`.
    pub properties: BTreeMap<String, String>,
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Presets for the sizes of things.
    pub profile: Profile,
    /// This broker's number.
    pub node_id: i32,
    /// Identity of the cluster, where it is fixed by the configuration.
    pub cluster_id: Option<String>,
    /// The data directory.
    pub data: PathBuf,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Address of the console, or none.
    pub console: Option<HostPort>,
    /// When a write counts as done.
    pub durability: Durability,
    /// How often data is forced to flash with [`Durability::Interval`].
    pub flush_ms: u64,
    /// The sizes of the store.
    pub storage: Storage,
    /// Threads of the executor.
    pub num_network_threads: usize,
    /// Bytes of requests in the process at once.
    pub queued_max_request_bytes: usize,
    /// Largest request.
    pub socket_request_max_bytes: usize,
    /// Connections open at once.
    pub max_connections: usize,
    /// A connection that says nothing for so long is closed.
    pub connections_max_idle_ms: u64,
    /// The limits of plugins.
    pub plugin: Plugin,
    /// The links.
    pub mirrors: Vec<MirrorTable>,
    /// The broker's Kafka keys that were set; topics fall back to them. Checked.
    pub broker: BTreeMap<String, String>,
    /// Everything that was set, with its source.
    pub settings: Settings,
}

const MIB: u64 = 1 << 20;

/// Checks every setting and builds the configuration. With problems the result is not to be used.
pub(super) fn build(settings: Settings, problems: &mut Vec<Problem>) -> Config {
    let mut reader = Reader {
        settings: &settings,
        problems,
    };
    let profile = reader.choice(
        "sedge.profile",
        &[("standard", Profile::Standard), ("small", Profile::Small)],
    );
    let small = profile == Profile::Small;
    let sized = |small_size: u64, standard: u64| if small { small_size } else { standard };
    let mut config = Config {
        profile,
        node_id: reader.integer("node.id", 1, 0, i64::from(i32::MAX)) as i32,
        cluster_id: reader.checked("cluster.id", parse_cluster_id),
        data: reader
            .checked("log.dirs", parse_data)
            .unwrap_or_else(|| "sedge-data".into()),
        listeners: reader.listeners(),
        console: reader.console(),
        durability: reader.choice(
            "durability",
            &[
                ("sync", Durability::Sync),
                ("interval", Durability::Interval),
            ],
        ),
        flush_ms: reader.size("flush.ms", 1000, 1, 3_600_000),
        storage: Storage {
            segment_bytes: reader.size("sedge.segment.bytes", sized(16, 64) * MIB, MIB, 1024 * MIB),
            cache_bytes: reader.size("sedge.cache.bytes", sized(1, 16) * MIB, MIB / 4, 4096 * MIB),
            views_flush_bytes: reader.size(
                "sedge.views.flush.bytes",
                sized(1, 4) * MIB,
                MIB / 16,
                256 * MIB,
            ),
        },
        num_network_threads: reader.size("num.network.threads", sized(1, 2), 1, 64) as usize,
        queued_max_request_bytes: reader.size(
            "queued.max.request.bytes",
            sized(16, 128) * MIB,
            MIB,
            65536 * MIB,
        ) as usize,
        socket_request_max_bytes: reader.size(
            "socket.request.max.bytes",
            100 * MIB,
            1024,
            i32::MAX as u64,
        ) as usize,
        max_connections: reader.size("max.connections", 1024, 1, 1_000_000) as usize,
        connections_max_idle_ms: reader.size(
            "connections.max.idle.ms",
            600_000,
            1000,
            i64::MAX as u64,
        ),
        plugin: Plugin {
            memory_bytes_max: reader.size("plugin.memory.bytes", 16 * MIB, MIB / 8, 4096 * MIB),
            deadline_ms: reader.size("plugin.deadline.ms", 100, 5, 60_000),
            output_bytes_max: reader.size("plugin.output.bytes", 16 * MIB, 1024, 1024 * MIB),
            component_bytes_max: reader.size("plugin.component.bytes", 8 * MIB, 1024, 64 * MIB),
        },
        mirrors: mirrors(&settings),
        broker: broker_keys(&settings),
        settings: Settings::default(),
    };
    config.settings = settings;
    config
}

fn mirrors(settings: &Settings) -> Vec<MirrorTable> {
    let mut tables: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for (key, setting) in settings.iter() {
        if let Some((name, key)) = keys::split_mirror(key) {
            tables
                .entry(name)
                .or_default()
                .insert(key.to_owned(), setting.value.clone());
        }
    }
    let table = |(name, properties): (&str, _)| MirrorTable {
        name: name.to_owned(),
        properties,
    };
    tables.into_iter().map(table).collect()
}

fn broker_keys(settings: &Settings) -> BTreeMap<String, String> {
    let of_broker = settings.iter().filter(|(key, _)| keys::is_broker_key(key));
    of_broker
        .map(|(key, setting)| (key.to_owned(), setting.value.clone()))
        .collect()
}

fn parse_cluster_id(text: &str) -> Result<String, String> {
    // Kafka's ids are 16 bytes in base64; other systems' are words. Both travel as a string.
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fine) {
        return Err("a cluster id is 1 to 64 letters, digits, `-`, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_data(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the data directory has no name".to_owned()),
        text if text.contains(',') => {
            Err("sedge keeps its data in one directory; name only one".to_owned())
        }
        text => Ok(PathBuf::from(text)),
    }
}

/// Reads single values and collects what is wrong with them.
struct Reader<'a> {
    settings: &'a Settings,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, setting: &Setting, why: String) {
        let value = if keys::is_secret(key) {
            "(hidden)"
        } else {
            &setting.value
        };
        let (key, value) = (key.to_owned(), value.to_owned());
        self.problems.push(Problem::Value {
            key,
            value,
            source: setting.source.clone(),
            why,
        });
    }

    fn checked<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let setting = self.settings.get(key)?;
        match parse(setting.value.trim()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problem(key, setting, why);
                None
            }
        }
    }

    fn integer(&mut self, key: &str, default: i64, min: i64, max: i64) -> i64 {
        let parse = |text: &str| match text.replace('_', "").parse::<i64>() {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            Ok(_) => Err(format!("it must be from {min} to {max}")),
            Err(_) => Err(format!("it must be a whole number, from {min} to {max}")),
        };
        self.checked(key, parse).unwrap_or(default)
    }

    fn size(&mut self, key: &str, default: u64, min: u64, max: u64) -> u64 {
        self.integer(key, default as i64, min as i64, max as i64) as u64
    }

    /// One of a few words; the first is the default.
    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let parse = |text: &str| {
            let chosen = choices.iter().find(|(name, _)| *name == text);
            chosen.map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                format!("it must be one of: {}", names.join(", "))
            })
        };
        let default = choices.first().expect("every choice has a default").1;
        self.checked(key, parse).unwrap_or(default)
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let default = || parse_listeners("127.0.0.1:9092").unwrap_or_default();
        let listeners = self
            .checked("listeners", parse_listeners)
            .unwrap_or_else(default);
        let join = |text: &str| {
            values::join_advertised(listeners.clone(), &values::parse_endpoints(text)?)
        };
        self.checked("advertised.listeners", join)
            .or_else(|| values::join_advertised(listeners.clone(), &[]).ok())
            .unwrap_or_default()
    }

    fn console(&mut self) -> Option<HostPort> {
        let parse = |text: &str| match text {
            "off" => Ok(None),
            text => HostPort::parse(text)
                .map(Some)
                .map_err(|why| format!("{why}; or `off` for no console")),
        };
        let default = || {
            Some(HostPort {
                host: "127.0.0.1".to_owned(),
                port: 9644,
            })
        };
        self.checked("sedge.console", parse).unwrap_or_else(default)
    }
}

fn parse_listeners(text: &str) -> Result<Vec<(String, HostPort)>, String> {
    let listeners = values::parse_endpoints(text)?;
    if listeners.is_empty() {
        return Err("it names no address; write HOST:PORT, like 127.0.0.1:9092".to_owned());
    }
    Ok(listeners)
}

impl Config {
    /// The key's value and where it comes from, for showing; secrets are hidden.
    pub fn effective(&self, key: &keys::Key) -> Setting {
        let setting = match self.settings.get(key.name) {
            Some(setting) => setting.clone(),
            None => match self.by_profile(key.name) {
                Some(value) => Setting {
                    value: value.to_string(),
                    source: Source::Profile,
                },
                None => Setting {
                    value: key.default.to_owned(),
                    source: Source::Default,
                },
            },
        };
        if keys::is_secret(key.name) {
            return Setting {
                value: "(hidden)".to_owned(),
                ..setting
            };
        }
        setting
    }

    fn by_profile(&self, key: &str) -> Option<u64> {
        match key {
            "num.network.threads" => Some(self.num_network_threads as u64),
            "queued.max.request.bytes" => Some(self.queued_max_request_bytes as u64),
            "sedge.cache.bytes" => Some(self.storage.cache_bytes),
            "sedge.segment.bytes" => Some(self.storage.segment_bytes),
            "sedge.views.flush.bytes" => Some(self.storage.views_flush_bytes),
            _ => None,
        }
    }
}
