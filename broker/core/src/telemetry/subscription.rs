//! Subscriptions: which metrics of which clients are wanted, and how often.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Pushes are wanted so often if no subscription says otherwise; Kafka's default.
pub const INTERVAL_MS_DEFAULT: i32 = 300_000;

/// Stands for all metrics.
const ALL: &str = "*";

/// A compiled regular expression.
pub trait Pattern {
    /// Returns whether the whole text matches.
    fn matches(&self, text: &str) -> bool;
}

/// What a subscription's `match` may ask of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    InstanceId,
    Id,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl Attribute {
    /// Returns the attribute of this name in a `match`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "client_instance_id" => Self::InstanceId,
            "client_id" => Self::Id,
            "client_software_name" => Self::SoftwareName,
            "client_software_version" => Self::SoftwareVersion,
            "client_source_address" => Self::SourceAddress,
            "client_source_port" => Self::SourcePort,
            _ => return None,
        })
    }
}

/// What is known about a client, as text.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'a> {
    pub instance_id: &'a str,
    pub id: &'a str,
    pub software_name: &'a str,
    pub software_version: &'a str,
    pub source_address: &'a str,
    pub source_port: &'a str,
}

impl ClientFacts<'_> {
    const fn get(&self, attribute: Attribute) -> &str {
        match attribute {
            Attribute::InstanceId => self.instance_id,
            Attribute::Id => self.id,
            Attribute::SoftwareName => self.software_name,
            Attribute::SoftwareVersion => self.software_version,
            Attribute::SourceAddress => self.source_address,
            Attribute::SourcePort => self.source_port,
        }
    }
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscription<P> {
    pub interval_ms: i32,
    /// Prefixes of the names of metrics.
    pub metrics: Vec<String>,
    /// All of these must match. Empty: all clients.
    pub matches: Vec<(Attribute, P)>,
}

/// What the subscriptions want of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub interval_ms: i32,
    pub metrics: Vec<String>,
}

/// Joins the subscriptions that match a client: all their metrics, at the shortest interval.
pub(super) fn wanted<P: Pattern>(
    subscriptions: &[Subscription<P>],
    facts: &ClientFacts<'_>,
) -> Wanted {
    let of_client = subscriptions.iter().filter(|subscription| {
        let mut matches = subscription.matches.iter();
        matches.all(|(attribute, pattern)| pattern.matches(facts.get(*attribute)))
    });
    let of_client: Vec<_> = of_client.collect();
    let interval_ms = of_client.iter().map(|of| of.interval_ms).min();
    let names = of_client.iter().flat_map(|of| &of.metrics);
    let mut names: BTreeSet<&String> = names.collect();
    if names.iter().any(|name| *name == ALL) {
        names.retain(|name| *name == ALL);
    }
    Wanted {
        interval_ms: interval_ms.unwrap_or(INTERVAL_MS_DEFAULT),
        metrics: names.into_iter().cloned().collect(),
    }
}

impl Wanted {
    /// Returns a number that changes with what is wanted.
    pub fn subscription_id(&self, client: &[u8; 16]) -> i32 {
        let mut hash = xxh3_64_with_seed(client, self.interval_ms.cast_unsigned().into());
        for name in &self.metrics {
            hash = xxh3_64_with_seed(name.as_bytes(), hash);
        }
        hash as i32
    }
}
