//! `bench acls`: the time of one check of access rules, in the process, for several shapes of
//! rules.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use sedge_core::security::{
    AclBinding, Acls, Authorizer, Host, Operation, PatternType, Permission, Principal, Resource,
    Subject,
};
use sedge_protocol::kafka::KafkaUuid;

use crate::bench::Spread;

/// Checks of one round. Each check uses another rule than the one before, to defeat CPU caches.
const CHECKS: usize = 100_000;

/// Returns the table with the median and the 99th percentile of the nanoseconds of a check. The
/// time of reading the clock is subtracted.
pub fn run(rules: usize, rounds: usize) -> String {
    let mut table = format!("{rules} rules, {CHECKS} checks a round; ns a check: median, p99\n");
    for shape in SHAPES {
        let mut acls = Acls::default();
        for number in 0..rules {
            let id = KafkaUuid::from_parts(1, number as u64);
            acls.add(id, (shape.rule)(number));
        }
        // Every rule once, in an order that jumps.
        let asked: Vec<Asked> = (0..rules)
            .map(|number| shape.ask((number * 7_919) % rules))
            .collect();
        let (mut medians, mut tails) = (Spread::default(), Spread::default());
        for _ in 0..rounds {
            let (median, tail) = measure(&acls, &asked);
            medians.add(median);
            tails.add(tail);
        }
        let (median, tail) = (medians.show(0), tails.show(0));
        writeln!(table, "{:<34} {median:<18} {tail}", shape.name).expect("a String takes all");
    }
    table
}

/// A shape of rules: creates the rule with a number.
struct Shape {
    name: &'static str,
    rule: fn(usize) -> AclBinding,
    /// The text that follows the rule's name in the names of the checked topics.
    behind: &'static str,
}

/// The principal, host and topic of a check.
type Asked = (Principal, IpAddr, String);

const SHAPES: &[Shape] = &[
    Shape {
        name: "a literal topic each",
        rule: |number| {
            let (topic, user) = (topic(number), user(number));
            rule(PatternType::Literal, &topic, &user, Host::Any)
        },
        behind: "",
    },
    Shape {
        name: "a prefix each",
        rule: |number| {
            let (prefix, user) = (format!("{}.", topic(number)), user(number));
            rule(PatternType::Prefixed, &prefix, &user, Host::Any)
        },
        behind: "x.y.z",
    },
    Shape {
        name: "a user each, of all topics",
        rule: |number| rule(PatternType::Literal, "*", &user(number), Host::Any),
        behind: "",
    },
    Shape {
        name: "a host each, of one user and topic",
        rule: |number| {
            let host = Host::Address(host(number));
            rule(PatternType::Literal, &topic(0), &user(0), host)
        },
        behind: "",
    },
    Shape {
        name: "a topic each, of one user",
        rule: |number| rule(PatternType::Literal, &topic(number), &user(0), Host::Any),
        behind: "",
    },
    Shape {
        name: "prefixes of prefixes, 10 deep",
        rule: |number| {
            let prefix = format!("{}{}", topic(number / 10), ".x".repeat(number % 10));
            rule(PatternType::Prefixed, &prefix, &user(number), Host::Any)
        },
        behind: ".y",
    },
];

impl Shape {
    /// Returns the principal, host and topic to which the rule with this number applies.
    fn ask(&self, number: usize) -> Asked {
        let rule = (self.rule)(number);
        let principal = Principal::parse(&rule.principal).expect("a type and a name");
        let name = match &*rule.name {
            "*" => topic(number),
            name => format!("{name}{}", self.behind),
        };
        let host = match rule.host {
            Host::Address(address) => address,
            _ => host(number),
        };
        (principal, host, name)
    }
}

fn rule(pattern: PatternType, name: &str, user: &str, host: Host) -> AclBinding {
    AclBinding {
        resource: Resource::Topic,
        pattern,
        name: name.into(),
        principal: format!("User:{user}").as_str().into(),
        host,
        operation: Operation::Read,
        permission: Permission::Allow,
    }
}

fn topic(number: usize) -> String {
    let (site, line) = (number % 300, number % 40);
    format!("site-{site:03}.line-{line:02}.sensor-{number}")
}

fn user(number: usize) -> String {
    format!("device-{number}")
}

fn host(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number as u32))
}

fn measure(acls: &Acls, asked: &[Asked]) -> (f64, f64) {
    let authorizer = Authorizer::default();
    let mut checks = Vec::with_capacity(CHECKS);
    let mut clock = Vec::with_capacity(CHECKS);
    for (principal, host, name) in asked.iter().cycle().take(CHECKS) {
        // Cloned, because in a broker the request has just been decoded.
        let (principal, name) = (principal.clone(), name.clone());
        let subject = Subject {
            principal: &principal,
            host: *host,
        };
        let began = Instant::now();
        let operation = Operation::Describe;
        let verdict = authorizer.authorize(acls, subject, operation, Resource::Topic, &name);
        let verdict = black_box(verdict);
        checks.push(began.elapsed().as_nanos() as u64);
        let began = Instant::now();
        clock.push(began.elapsed().as_nanos() as u64);
        assert!(verdict.is_allowed(), "{principal} {name}");
    }
    checks.sort_unstable();
    clock.sort_unstable();
    let at = |percent: usize| {
        let spent = checks[CHECKS * percent / 100].saturating_sub(clock[CHECKS / 2]);
        spent as f64
    };
    (at(50), at(99))
}
