//! `bench acls`: what one check of access rules costs, in the process, by the shape of the rules.

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

/// Checks of one round. What they ask for changes, so that caches do not hold one answer.
const CHECKS: usize = 100_000;

/// Returns the table: nanoseconds a check.
pub fn run(rules: usize, rounds: usize) -> String {
    let mut table = format!("{rules} rules, {CHECKS} checks a round; ns a check\n");
    for (shape, rule) in SHAPES {
        let mut acls = Acls::default();
        for number in 0..rules {
            acls.add(KafkaUuid::from_parts(1, number as u64), rule(number));
        }
        let mut spread = Spread::default();
        for _ in 0..rounds {
            spread.add(measure(&acls, rules));
        }
        writeln!(table, "{shape:<34} {}", spread.show(0)).expect("a String takes everything");
    }
    table
}

type Rule = fn(usize) -> AclBinding;

const SHAPES: &[(&str, Rule)] = &[
    ("a literal topic each", |number| {
        rule(
            PatternType::Literal,
            &topic(number),
            &user(number),
            Host::Any,
        )
    }),
    ("a prefix each", |number| {
        let prefix = format!("{}.", topic(number));
        rule(PatternType::Prefixed, &prefix, &user(number), Host::Any)
    }),
    ("a user each, of all topics", |number| {
        rule(PatternType::Literal, "*", &user(number), Host::Any)
    }),
    ("a host each, of one user and topic", |number| {
        let host = Host::Address(host(number));
        rule(PatternType::Literal, &topic(0), &user(0), host)
    }),
    ("prefixes of prefixes, 200 deep", |number| {
        let name = format!("{}{}", topic(number / 200), ".x".repeat(number % 200));
        rule(PatternType::Prefixed, &name, &user(number), Host::Any)
    }),
];

fn rule(pattern: PatternType, name: &str, principal: &str, host: Host) -> AclBinding {
    AclBinding {
        resource: Resource::Topic,
        pattern,
        name: name.into(),
        principal: format!("User:{principal}").into(),
        host,
        operation: Operation::Read,
        permission: Permission::Allow,
    }
}

fn topic(number: usize) -> String {
    format!(
        "site-{:03}.line-{:02}.sensor-{number}",
        number % 300,
        number % 40
    )
}

fn user(number: usize) -> String {
    format!("device-{number}")
}

fn host(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number as u32))
}

fn measure(acls: &Acls, rules: usize) -> f64 {
    let authorizer = Authorizer::default();
    // Far apart, and each of them at last.
    let step = |number: usize| (number * 7_919) % rules;
    let asked: Vec<(Principal, IpAddr, String)> = (0..rules)
        .map(|number| {
            let name = format!("{}.x.x.x", topic(step(number)));
            (Principal::user(&user(step(number))), host(number), name)
        })
        .collect();
    let began = Instant::now();
    for number in 0..CHECKS {
        let (principal, host, name) = &asked[number % rules];
        let subject = Subject {
            principal,
            host: *host,
        };
        let verdict =
            authorizer.authorize(acls, subject, Operation::Describe, Resource::Topic, name);
        black_box(verdict.is_allowed());
    }
    began.elapsed().as_nanos() as f64 / CHECKS as f64
}
