//! The policy of the configured quotas: a token bucket for the use of each client.
//!
//! Kafka measures the rate over `quota.window.num` windows, and throttles for the time in which the
//! excess would have been allowed: (rate - bound) / bound * time of the windows. At first, a bucket
//! gives the same time: its debt divided by the bound. But when Kafka drops the window of a burst,
//! its rate falls at once and allows the next burst, so clients alternate between bursts and
//! pauses. For this reason KIP-599 has token buckets for controller mutations. Here all quotas have
//! them, and clients run evenly at their rates.
//!
//! The credit of an idle client grows to that of all windows but the current one, which is what
//! Kafka allows an idle client. A new client has the credit of one window.
//!
//! **Invariant:** the memory of all meters is bounded, whatever names clients choose
//! ([`METERS_MAX`], [`METERS_BYTES_MAX`]).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::IpAddr;

use super::bucket::Bucket;
use super::entity::Key;
use super::limits::{
    METER_BYTES, METER_IDLE_MS, METERS_BYTES_MAX, METERS_MAX, METERS_SWEPT_EVERY_MS,
};
use super::policy::{Client, QuotaPolicy, Usage, Verdict};
use super::table::{Quotas, Scope};

/// The windows over which uses are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    /// `quota.window.num`
    pub count: u32,
    /// `quota.window.size.seconds`
    pub seconds: u32,
}

impl Windows {
    fn one(self, rate: f64) -> f64 {
        rate * f64::from(self.seconds)
    }

    /// Returns the most credit of a rate's bucket.
    fn most(self, rate: f64) -> f64 {
        self.one(rate) * f64::from(self.count.saturating_sub(1).max(1))
    }

    /// Returns the most credit of a token bucket (`TokenBucket.burst`).
    fn most_tokens(self, rate: f64) -> f64 {
        self.one(rate) * f64::from(self.count)
    }
}

/// The use of each client, and the quotas in force.
#[derive(Debug)]
pub struct Meters {
    quotas: Arc<Quotas>,
    windows: Windows,
    /// The windows of controller mutations.
    controller_windows: Windows,
    by_name: BTreeMap<Box<str>, Meter>,
    bytes: usize,
    swept_ms: u64,
    /// A buffer for the name of the meter that is looked up.
    name: String,
}

#[derive(Debug)]
struct Meter {
    bucket: Bucket,
    used_ms: u64,
}

impl Meters {
    #[must_use]
    pub fn new(windows: Windows, controller_windows: Windows) -> Self {
        Self {
            quotas: Arc::default(),
            windows,
            controller_windows,
            by_name: BTreeMap::new(),
            bytes: 0,
            swept_ms: 0,
            name: String::new(),
        }
    }

    /// Applies changed quotas. Past use still counts.
    pub fn set_quotas(&mut self, quotas: Arc<Quotas>) {
        self.quotas = quotas;
    }

    /// Returns the number of meters: one for each client and each quota in force for it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Returns the most bytes of one fetch of this client: those of one window, so that its records
    /// arrive evenly.
    #[must_use]
    pub fn fetch_bytes_max(&self, client: Client<'_>) -> Option<u64> {
        let key = Key::ConsumerByteRate;
        let (_, rate) = self.quotas.resolve(key, client.user, client.id)?;
        Some(self.windows.one(rate) as u64)
    }

    fn bucket(
        &mut self,
        now_ms: u64,
        (key, scope): (Key, Scope),
        client: Client<'_>,
        at_first: f64,
    ) -> &mut Bucket {
        self.sweep(now_ms);
        let (user, id) = match scope {
            Scope::User => (client.user, ""),
            Scope::Client => ("", client.id),
            Scope::UserClient => (client.user, client.id),
        };
        self.name.clear();
        let length = user.len();
        // The length separates the user's name from the client id after it.
        write!(self.name, "{} {length} {user}{id}", key as u8).expect("a string takes any text");
        if !self.by_name.contains_key(self.name.as_str()) {
            let bytes = METER_BYTES + self.name.len();
            if self.by_name.len() >= METERS_MAX || self.bytes + bytes > METERS_BYTES_MAX {
                self.forget_half();
            }
            self.bytes += bytes;
            let bucket = Bucket::new(now_ms, at_first);
            let used_ms = now_ms;
            let meter = Meter { bucket, used_ms };
            self.by_name.insert(self.name.as_str().into(), meter);
        }
        let meter = self.by_name.get_mut(self.name.as_str());
        let meter = meter.expect("it was there, or is there now");
        meter.used_ms = now_ms;
        &mut meter.bucket
    }

    fn sweep(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.swept_ms) >= METERS_SWEPT_EVERY_MS {
            self.swept_ms = now_ms;
            self.retain(|meter| now_ms.saturating_sub(meter.used_ms) < METER_IDLE_MS);
        }
    }

    /// Drops at least half of the meters, the least recently used first.
    fn forget_half(&mut self) {
        let used = self.by_name.values().map(|meter| meter.used_ms);
        let mut used: Vec<u64> = used.collect();
        let half = used.len() / 2;
        let (_, middle, _) = used.select_nth_unstable(half);
        let middle = *middle;
        self.retain(|meter| meter.used_ms > middle);
    }

    fn retain(&mut self, mut stays: impl FnMut(&Meter) -> bool) {
        self.by_name.retain(|_, meter| stays(meter));
        let bytes = self.by_name.keys().map(|name| METER_BYTES + name.len());
        self.bytes = bytes.sum();
    }
}

impl Usage {
    const fn key(self) -> Key {
        match self {
            Self::Produced { .. } => Key::ProducerByteRate,
            Self::Fetched { .. } => Key::ConsumerByteRate,
            Self::Handled { .. } => Key::RequestPercentage,
            Self::Mutated { .. } => Key::ControllerMutationRate,
        }
    }

    /// Returns the amount in the unit of the quota; percentages are of one second.
    fn amount(self) -> f64 {
        match self {
            Self::Produced { bytes } | Self::Fetched { bytes } => bytes as f64,
            Self::Handled { nanos } => nanos as f64 / 1e7,
            Self::Mutated { partitions, .. } => partitions as f64,
        }
    }
}

impl QuotaPolicy for Meters {
    fn charge(&mut self, now_ms: u64, client: Client<'_>, usage: Usage) -> Verdict {
        let key = usage.key();
        let Some((scope, rate)) = self.quotas.resolve(key, client.user, client.id) else {
            return Verdict::Allow;
        };
        let (most, at_first) = match usage {
            Usage::Mutated { .. } => {
                let most = self.controller_windows.most_tokens(rate);
                (most, most)
            }
            _ => (self.windows.most(rate), self.windows.one(rate)),
        };
        let window_ms = u64::from(self.windows.seconds) * 1_000;
        let bucket = self.bucket(now_ms, (key, scope), client, at_first);
        bucket.refill(now_ms, rate, most);
        let (before, amount) = (bucket.credit(), usage.amount());
        let ms = match usage {
            // A fetch that is larger than the bucket needs a full bucket only, or it would never be
            // allowed. It waits 1 ms at least: with 0, it would be allowed without being charged.
            Usage::Fetched { .. } if before < amount.min(most) => {
                bucket.wait_ms(amount.min(most), rate).max(1)
            }
            Usage::Mutated {
                is_strict: true, ..
            } if before < 0.0 => {
                let retry_ms = bucket.wait_ms(0.0, rate);
                return Verdict::Reject { retry_ms };
            }
            Usage::Fetched { .. }
            | Usage::Mutated {
                is_strict: true, ..
            } => {
                bucket.spend(amount);
                0
            }
            Usage::Produced { .. } | Usage::Mutated { .. } => {
                bucket.spend(amount);
                bucket.wait_ms(0.0, rate)
            }
            // `ClientRequestQuotaManager.throttleTime`: a slow request must not block its client
            // for long.
            Usage::Handled { .. } => {
                bucket.spend(amount);
                bucket.wait_ms(0.0, rate).min(window_ms)
            }
        };
        match ms {
            0 => Verdict::Allow,
            ms => Verdict::Throttle { ms },
        }
    }

    fn connect(&mut self, now_ms: u64, ip: IpAddr) -> Verdict {
        let key = Key::ConnectionCreationRate;
        if !self.quotas.has(key) {
            return Verdict::Allow;
        }
        let ip = ip.to_canonical().to_string();
        let Some(rate) = self.quotas.connection_rate(&ip) else {
            return Verdict::Allow;
        };
        let (windows, window_ms) = (self.windows, u64::from(self.windows.seconds) * 1_000);
        let client = Client { user: &ip, id: "" };
        let bucket = self.bucket(
            now_ms,
            (key, Scope::User),
            client,
            windows.one(rate).max(1.0),
        );
        bucket.refill(now_ms, rate, windows.most(rate).max(1.0));
        match bucket.wait_ms(1.0, rate).min(window_ms) {
            0 => {
                bucket.spend(1.0);
                Verdict::Allow
            }
            ms => Verdict::Throttle { ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::quota::table::tests::{random, random_entity};
    use crate::quota::{Entity, Name};

    const WINDOWS: Windows = Windows {
        count: 11,
        seconds: 1,
    };

    const CLIENT: Client<'_> = Client { user: "u", id: "c" };

    fn meters(key: Key, entity: &[(&str, Option<&str>)], rate: f64) -> Meters {
        let mut quotas = Quotas::default();
        let entity = Entity::parse(entity.iter().copied()).unwrap();
        quotas.set(&entity, key, Some(rate));
        let mut meters = Meters::new(WINDOWS, WINDOWS);
        meters.set_quotas(Arc::new(quotas));
        meters
    }

    fn produced(bytes: u64) -> Usage {
        Usage::Produced { bytes }
    }

    #[test]
    fn a_producer_waits_until_its_excess_is_worked_off() {
        let user = [("user", Some("u"))];
        let mut meters = meters(Key::ProducerByteRate, &user, 1_000.0);
        assert_eq!(meters.charge(0, CLIENT, produced(900)), Verdict::Allow);
        let ms = 400;
        assert_eq!(
            meters.charge(0, CLIENT, produced(500)),
            Verdict::Throttle { ms }
        );
        // Another client of the user shares its quota, and one of another user has none.
        let other = Client { user: "u", id: "d" };
        let ms = 500;
        assert_eq!(
            meters.charge(0, other, produced(100)),
            Verdict::Throttle { ms }
        );
        let other = Client { user: "v", id: "c" };
        assert_eq!(meters.charge(0, other, produced(u64::MAX)), Verdict::Allow);
        assert_eq!(meters.charge(500, CLIENT, produced(0)), Verdict::Allow);
        // An idle client may send at once what ten windows allow.
        assert_eq!(
            meters.charge(60_000, CLIENT, produced(10_000)),
            Verdict::Allow
        );
        let ms = 1;
        assert_eq!(
            meters.charge(60_000, CLIENT, produced(1)),
            Verdict::Throttle { ms }
        );
    }

    #[test]
    fn a_fetch_that_lacks_less_than_half_a_millisecond_is_not_free() {
        let client = [("client-id", None)];
        let mut meters = meters(Key::ConsumerByteRate, &client, 100_000.0);
        let fetched = |bytes| Usage::Fetched { bytes };
        let first = meters.charge(0, CLIENT, fetched(99_990));
        assert_eq!(first, Verdict::Allow);
        let ms = 1;
        let second = meters.charge(0, CLIENT, fetched(50));
        assert_eq!(second, Verdict::Throttle { ms });
    }

    #[test]
    fn what_is_fetched_is_not_counted_before_it_is_allowed() {
        let client = [("client-id", None)];
        let mut meters = meters(Key::ConsumerByteRate, &client, 1_000.0);
        assert_eq!(meters.fetch_bytes_max(CLIENT), Some(1_000));
        let fetched = |bytes| Usage::Fetched { bytes };
        assert_eq!(meters.charge(0, CLIENT, fetched(1_000)), Verdict::Allow);
        for _ in 0..2 {
            let ms = 700;
            assert_eq!(
                meters.charge(0, CLIENT, fetched(700)),
                Verdict::Throttle { ms }
            );
        }
        assert_eq!(meters.charge(700, CLIENT, fetched(700)), Verdict::Allow);
        assert_eq!(meters.charge(700, CLIENT, fetched(0)), Verdict::Allow);
        // An idle client gets a batch that is larger than its credit, and pays for it later.
        let large = fetched(15_000);
        let ms = 10_000;
        assert_eq!(meters.charge(700, CLIENT, large), Verdict::Throttle { ms });
        assert_eq!(meters.charge(10_700, CLIENT, large), Verdict::Allow);
        let ms = 5_001;
        assert_eq!(
            meters.charge(10_700, CLIENT, fetched(1)),
            Verdict::Throttle { ms }
        );
    }

    #[test]
    fn a_request_is_throttled_for_one_window_at_most() {
        let user = [("user", None)];
        let mut meters = meters(Key::RequestPercentage, &user, 10.0);
        let handled = |ms: u64| Usage::Handled {
            nanos: ms * 1_000_000,
        };
        // A tenth of a second of one thread.
        assert_eq!(meters.charge(0, CLIENT, handled(100)), Verdict::Allow);
        let ms = 300;
        assert_eq!(
            meters.charge(0, CLIENT, handled(30)),
            Verdict::Throttle { ms }
        );
        let ms = 1_000;
        assert_eq!(
            meters.charge(0, CLIENT, handled(5_000)),
            Verdict::Throttle { ms }
        );
    }

    #[test]
    fn the_controller_refuses_strict_requests_while_the_quota_is_exceeded() {
        let both = [("user", Some("u")), ("client-id", Some("c"))];
        let mut meters = meters(Key::ControllerMutationRate, &both, 2.0);
        let mutated = |partitions, is_strict| Usage::Mutated {
            partitions,
            is_strict,
        };
        // KIP-599: the burst of all windows, and one request beyond it.
        assert_eq!(meters.charge(0, CLIENT, mutated(22, true)), Verdict::Allow);
        assert_eq!(meters.charge(0, CLIENT, mutated(10, true)), Verdict::Allow);
        let retry_ms = 5_000;
        let rejected = Verdict::Reject { retry_ms };
        assert_eq!(meters.charge(0, CLIENT, mutated(1, true)), rejected);
        assert_eq!(meters.charge(0, CLIENT, mutated(1, true)), rejected);
        let ms = 6_000;
        let throttled = Verdict::Throttle { ms };
        assert_eq!(meters.charge(0, CLIENT, mutated(2, false)), throttled);
        assert_eq!(
            meters.charge(6_000, CLIENT, mutated(4, true)),
            Verdict::Allow
        );
    }

    #[test]
    fn an_address_opens_as_many_connections_as_it_may() {
        let mut meters = meters(Key::ConnectionCreationRate, &[("ip", None)], 5.0);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..5 {
            assert_eq!(meters.connect(0, ip("10.0.0.1")), Verdict::Allow);
        }
        let ms = 200;
        for mapped in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!(meters.connect(0, ip(mapped)), Verdict::Throttle { ms });
        }
        assert_eq!(meters.connect(0, ip("10.0.0.2")), Verdict::Allow);
        assert_eq!(meters.connect(200, ip("10.0.0.1")), Verdict::Allow);
        assert_eq!(
            meters.connect(200, ip("10.0.0.1")),
            Verdict::Throttle { ms }
        );
        // A quota of less than one connection in a window.
        let one = |rate: f64| {
            let ip = [("ip", Some("10.0.0.1"))];
            self::meters(Key::ConnectionCreationRate, &ip, rate)
        };
        let mut meters = one(0.5);
        assert_eq!(meters.connect(0, ip("10.0.0.1")), Verdict::Allow);
        let ms = 1_000;
        let throttled = Verdict::Throttle { ms };
        assert_eq!(meters.connect(0, ip("10.0.0.1")), throttled);
        assert_eq!(
            meters.connect(1_500, ip("10.0.0.1")),
            Verdict::Throttle { ms: 500 }
        );
        assert_eq!(meters.connect(2_000, ip("10.0.0.1")), Verdict::Allow);
        assert_eq!(meters.connect(0, ip("10.0.0.2")), Verdict::Allow);
    }

    #[test]
    fn changed_quotas_count_at_once() {
        let user = [("user", Some("u"))];
        let mut before = meters(Key::ProducerByteRate, &user, 1_000.0);
        let ms = 9_000;
        let throttled = Verdict::Throttle { ms };
        assert_eq!(before.charge(0, CLIENT, produced(10_000)), throttled);
        let after = meters(Key::ProducerByteRate, &user, 10_000.0);
        before.set_quotas(after.quotas);
        let ms = 900;
        let throttled = Verdict::Throttle { ms };
        assert_eq!(before.charge(0, CLIENT, produced(0)), throttled);
        before.set_quotas(Arc::default());
        assert_eq!(before.charge(0, CLIENT, produced(0)), Verdict::Allow);
    }

    #[test]
    fn a_flood_of_client_ids_takes_no_more_memory_than_is_allowed() {
        let client = [("client-id", None)];
        let mut meters = meters(Key::ProducerByteRate, &client, 1.0);
        for number in 0..3 * METERS_MAX as u64 {
            let id = number.to_string();
            let client = Client { user: "u", id: &id };
            let _ = meters.charge(number, client, produced(1));
            // A meter in constant use is kept.
            let _ = meters.charge(number, CLIENT, produced(1_000));
            assert!(meters.len() <= METERS_MAX);
        }
        let verdict = meters.charge(3 * METERS_MAX as u64, CLIENT, produced(1));
        let years = 3 * METERS_MAX as u64 * 1_000 * 900;
        assert!(
            matches!(verdict, Verdict::Throttle { ms } if ms > years),
            "{verdict:?}"
        );
        for number in 0..1_000_u64 {
            let id = format!("{number}{}", "n".repeat(30_000));
            let client = Client { user: "u", id: &id };
            let _ = meters.charge(40_000 + number, client, produced(1));
            let bytes = meters.by_name.keys().map(|name| METER_BYTES + name.len());
            let bytes: usize = bytes.sum();
            assert!(bytes == meters.bytes && bytes <= METERS_BYTES_MAX);
        }
        assert!(meters.len() > 50);
        let _ = meters.charge(50_000 + METER_IDLE_MS, CLIENT, produced(1));
        assert_eq!(meters.len(), 1);
    }

    /// Compares with sums: at each time, the use of each client is at most what its quota allows.
    #[test]
    fn no_client_gets_more_than_its_rate_and_what_an_idle_one_gathers() {
        let mut next = random(11);
        for _ in 0..50 {
            let mut quotas = Quotas::default();
            for _ in 0..3 {
                let rate = 1_000.0 * (1.0 + next(50) as f64);
                let entity = random_entity(&mut next);
                if !matches!(entity, Entity::Ip(_)) {
                    quotas.set(&entity, Key::ProducerByteRate, Some(rate));
                }
            }
            let mut meters = Meters::new(WINDOWS, WINDOWS);
            let quotas = Arc::new(quotas);
            meters.set_quotas(Arc::clone(&quotas));
            let mut now_ms = 0;
            // By shared quota: when its clients may send again, and what they have sent.
            let mut sums: BTreeMap<String, (u64, f64)> = BTreeMap::new();
            for _ in 0..400 {
                now_ms += next(300);
                let (user, id) = (["u", "v"][next(2) as usize], ["c", "d"][next(2) as usize]);
                let client = Client { user, id };
                let bytes = next(20_000);
                let found = quotas.resolve(Key::ProducerByteRate, user, id);
                let Some((scope, rate)) = found else {
                    let verdict = meters.charge(now_ms, client, produced(bytes));
                    assert_eq!(verdict, Verdict::Allow);
                    continue;
                };
                let shared = match scope {
                    Scope::User => user.into(),
                    Scope::Client => format!("/{id}"),
                    Scope::UserClient => format!("{user}/{id}"),
                };
                let (until_ms, sum) = sums.entry(shared).or_default();
                // A muted client sends nothing.
                if now_ms < *until_ms {
                    continue;
                }
                let most = rate * (now_ms as f64 / 1_000.0 + 10.0);
                assert!(*sum <= most + rate / 1_000.0, "{sum} of {most} at {now_ms}");
                *sum += bytes as f64;
                if let Verdict::Throttle { ms } = meters.charge(now_ms, client, produced(bytes)) {
                    *until_ms = now_ms + ms;
                }
            }
        }
    }

    #[test]
    fn names_do_not_run_into_each_other() {
        let both = [("user", None), ("client-id", None)];
        let mut meters = meters(Key::ProducerByteRate, &both, 1.0);
        let all = [("u", "c"), ("uc", ""), ("", "uc"), ("1", "2"), ("12", "")];
        for (user, id) in all {
            let _ = meters.charge(0, Client { user, id }, produced(0));
        }
        assert_eq!(meters.len(), all.len());
        assert!(Name::new(None).given().is_none());
    }
}
