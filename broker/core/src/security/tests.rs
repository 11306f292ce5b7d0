use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::IpAddr;

use sedge_protocol::kafka::KafkaUuid;

use super::acl::{EACH_USER, WILDCARD};
use super::*;

fn rule(text: &str) -> AclBinding {
    let words: Vec<&str> = text.split(' ').collect();
    let [permission, principal, host, operation, pattern, name] = words[..] else {
        panic!("{text}");
    };
    let operation = Operation::EACH
        .into_iter()
        .find(|one| format!("{one:?}") == operation);
    AclBinding {
        resource: Resource::Topic,
        pattern: match pattern {
            "literal" => PatternType::Literal,
            "prefixed" => PatternType::Prefixed,
            other => panic!("{other}"),
        },
        name: name.into(),
        principal: principal.into(),
        host: Host::parse(host),
        operation: operation.expect("an operation"),
        permission: match permission {
            "allow" => Permission::Allow,
            "deny" => Permission::Deny,
            other => panic!("{other}"),
        },
    }
}

fn acls(rules: &[&str]) -> Acls {
    let mut acls = Acls::default();
    for (number, text) in (0..).zip(rules) {
        acls.add(KafkaUuid::from_parts(1, number), rule(text));
    }
    acls
}

fn ask(acls: &Acls, user: &str, host: &str, operation: Operation, topic: &str) -> Verdict {
    let principal = Principal::user(user);
    let subject = Subject {
        principal: &principal,
        host: host.parse().unwrap(),
    };
    let authorizer = Authorizer::default();
    authorizer.authorize(acls, subject, operation, Resource::Topic, topic)
}

#[test]
fn a_rule_holds_for_its_principal_host_and_names() {
    let acls = acls(&[
        "allow User:a * Read literal t",
        "allow User:a 10.0.0.1 Write prefixed team.",
        "allow User:* * Delete literal *",
        "deny User:b * Delete prefixed team.b",
        "allow User:c ::1 Read literal t",
        "allow User:d 0:0:0:0:0:0:0:1 Read literal d",
        "allow Group:a * Alter literal t",
        "allow User:a name.example Alter literal t",
    ]);
    let check = |user, host, operation, topic, expected| {
        let verdict = ask(&acls, user, host, operation, topic);
        assert_eq!(verdict, expected, "{user} {host} {operation:?} {topic}");
    };
    check("a", "10.0.0.9", Operation::Read, "t", Verdict::Allowed);
    check("a", "10.0.0.9", Operation::Write, "t", Verdict::NotAllowed);
    check("a", "10.0.0.9", Operation::Alter, "t", Verdict::NotAllowed);
    check("A", "10.0.0.9", Operation::Read, "t", Verdict::NotAllowed);
    check("a", "10.0.0.1", Operation::Write, "team.", Verdict::Allowed);
    check(
        "a",
        "10.0.0.1",
        Operation::Write,
        "team.x",
        Verdict::Allowed,
    );
    check(
        "a",
        "10.0.0.1",
        Operation::Write,
        "team",
        Verdict::NotAllowed,
    );
    check(
        "a",
        "10.0.0.2",
        Operation::Write,
        "team.x",
        Verdict::NotAllowed,
    );
    check("z", "10.0.0.2", Operation::Delete, "any", Verdict::Allowed);
    check(
        "b",
        "10.0.0.2",
        Operation::Delete,
        "team.b1",
        Verdict::Denied,
    );
    check(
        "b",
        "10.0.0.2",
        Operation::Delete,
        "team.c",
        Verdict::Allowed,
    );
    check("c", "::1", Operation::Read, "t", Verdict::Allowed);
    check("d", "::1", Operation::Read, "d", Verdict::Allowed);
}

#[test]
fn what_is_allowed_implies_describe_and_what_is_denied_does_not() {
    let allowed = |operation: &str, asked| {
        let acls = acls(&[&format!("allow User:a * {operation} literal t")]);
        ask(&acls, "a", "::1", asked, "t").is_allowed()
    };
    for operation in ["Read", "Write", "Delete", "Alter", "Describe", "All"] {
        assert!(allowed(operation, Operation::Describe), "{operation}");
    }
    for operation in ["Create", "AlterConfigs", "DescribeConfigs", "ClusterAction"] {
        assert!(!allowed(operation, Operation::Describe), "{operation}");
    }
    for operation in ["AlterConfigs", "DescribeConfigs", "All"] {
        assert!(
            allowed(operation, Operation::DescribeConfigs),
            "{operation}"
        );
    }
    assert!(!allowed("Alter", Operation::DescribeConfigs));
    let acls = acls(&[
        "allow User:a * All literal t",
        "deny User:a * Read literal t",
    ]);
    assert!(ask(&acls, "a", "::1", Operation::Describe, "t").is_allowed());
    assert_eq!(
        ask(&acls, "a", "::1", Operation::Read, "t"),
        Verdict::Denied
    );
    let acls = self::acls(&[
        "allow User:a * Read literal t",
        "deny User:* * All literal t",
    ]);
    assert_eq!(
        ask(&acls, "a", "::1", Operation::Describe, "t"),
        Verdict::Denied
    );
}

#[test]
fn everyone_is_allowed_only_what_no_rule_is_for() {
    let acls = acls(&["allow User:a * Read prefixed t"]);
    let principal = Principal::user("b");
    let ask = |authorizer: &Authorizer, topic: &str| {
        let host = "::1".parse().unwrap();
        let subject = Subject {
            principal: &principal,
            host,
        };
        authorizer.authorize(&acls, subject, Operation::Read, Resource::Topic, topic)
    };
    let strict = Authorizer::default();
    assert_eq!(ask(&strict, "other"), Verdict::NoRule(false));
    let open = Authorizer {
        allow_everyone_if_no_acl_found: true,
        ..Authorizer::default()
    };
    assert_eq!(ask(&open, "other"), Verdict::NoRule(true));
    assert_eq!(ask(&open, "topic"), Verdict::NotAllowed);
    let with_super_user = Authorizer {
        super_users: BTreeSet::from([principal.clone()]),
        ..Authorizer::default()
    };
    assert_eq!(ask(&with_super_user, "topic"), Verdict::SuperUser);
}

#[test]
fn a_filter_finds_rules_as_kafka_s_does() {
    let rules = [
        rule("allow User:a * Read literal team.x"),
        rule("allow User:a * Read literal *"),
        rule("deny User:b 10.0.0.1 Write prefixed team."),
    ];
    let each = AclFilter {
        resource: None,
        pattern: PatternFilter::Any,
        name: None,
        principal: None,
        host: None,
        operation: None,
        permission: None,
    };
    let check = |filter: AclFilter, expected: [bool; 3]| {
        let found = rules.each_ref().map(|rule| filter.matches(rule));
        assert_eq!(found, expected, "{filter:?}");
    };
    let named = |pattern, name: &str| AclFilter {
        pattern,
        name: Some(name.into()),
        ..each.clone()
    };
    let exactly = PatternFilter::Exactly;
    check(each.clone(), [true, true, true]);
    check(named(PatternFilter::Any, "team.x"), [true, false, false]);
    check(named(PatternFilter::Match, "team.x"), [true, true, true]);
    check(named(PatternFilter::Match, "other"), [false, true, false]);
    check(
        named(exactly(PatternType::Literal), "*"),
        [false, true, false],
    );
    check(
        named(exactly(PatternType::Prefixed), "team."),
        [false, false, true],
    );
    check(
        named(exactly(PatternType::Prefixed), "team.x"),
        [false, false, false],
    );
    let only = |change: fn(&mut AclFilter)| {
        let mut filter = each.clone();
        change(&mut filter);
        filter
    };
    check(
        only(|f| f.principal = Some("User:b".into())),
        [false, false, true],
    );
    check(only(|f| f.host = Some(Host::Any)), [true, true, false]);
    check(
        only(|f| f.operation = Some(Operation::Read)),
        [true, true, false],
    );
    check(
        only(|f| f.permission = Some(Permission::Deny)),
        [false, false, true],
    );
    check(
        only(|f| f.resource = Some(Resource::Group)),
        [false, false, false],
    );
}

/// The rules as a list, evaluated one by one as Kafka's documentation describes.
#[derive(Default)]
struct Naive(Vec<(KafkaUuid, AclBinding)>);

impl Naive {
    fn add(&mut self, id: KafkaUuid, rule: AclBinding) {
        if !self.0.iter().any(|(_, other)| *other == rule) {
            self.0.push((id, rule));
        }
    }

    fn authorize(
        &self,
        (principal, host): (&str, IpAddr),
        operation: Operation,
        resource: Resource,
        name: &str,
    ) -> Verdict {
        let mut of_resource = self.0.iter().map(|(_, rule)| rule).filter(|rule| {
            rule.resource == resource
                && match rule.pattern {
                    PatternType::Literal => &*rule.name == name || &*rule.name == WILDCARD,
                    PatternType::Prefixed => name.starts_with(&*rule.name),
                }
        });
        let any = of_resource.clone().next().is_some();
        let allows = |rule: &AclBinding| match operation {
            Operation::Describe => matches!(
                rule.operation,
                Operation::Describe
                    | Operation::Read
                    | Operation::Write
                    | Operation::Delete
                    | Operation::Alter
                    | Operation::All
            ),
            Operation::DescribeConfigs => matches!(
                rule.operation,
                Operation::DescribeConfigs | Operation::AlterConfigs | Operation::All
            ),
            other => rule.operation == other || rule.operation == Operation::All,
        };
        let denies =
            |rule: &AclBinding| rule.operation == operation || rule.operation == Operation::All;
        let mine = |rule: &AclBinding| is_for(rule, principal, host);
        let denied = of_resource
            .clone()
            .any(|rule| mine(rule) && rule.permission == Permission::Deny && denies(rule));
        let allowed = of_resource
            .any(|rule| mine(rule) && rule.permission == Permission::Allow && allows(rule));
        match (denied, allowed, any) {
            (true, _, _) => Verdict::Denied,
            (false, true, _) => Verdict::Allowed,
            (false, false, true) => Verdict::NotAllowed,
            (false, false, false) => Verdict::NoRule(false),
        }
    }

    fn authorize_by_resource_type(
        &self,
        (principal, host): (&str, IpAddr),
        operation: Operation,
        resource: Resource,
    ) -> bool {
        let hardcode = self.authorize((principal, host), operation, resource, "hardcode");
        if hardcode.is_allowed() {
            return true;
        }
        let with = |permission: Permission, pattern: PatternType| {
            let rules = self.0.iter().map(|(_, rule)| rule).filter(move |rule| {
                rule.resource == resource
                    && rule.pattern == pattern
                    && rule.permission == permission
                    && (rule.operation == operation || rule.operation == Operation::All)
                    && is_for(rule, principal, host)
            });
            rules
                .map(|rule| rule.name.to_string())
                .collect::<BTreeSet<String>>()
        };
        let denied = with(Permission::Deny, PatternType::Literal);
        let denied_prefixes = with(Permission::Deny, PatternType::Prefixed);
        if denied.contains(WILDCARD) {
            return false;
        }
        let is_free = |name: &String| !denied_prefixes.iter().any(|deny| name.starts_with(deny));
        let allowed = with(Permission::Allow, PatternType::Literal);
        let prefixes = with(Permission::Allow, PatternType::Prefixed);
        allowed.contains(WILDCARD)
            || allowed.difference(&denied).any(is_free)
            || prefixes.iter().any(is_free)
    }
}

fn is_for(rule: &AclBinding, principal: &str, host: IpAddr) -> bool {
    (&*rule.principal == principal || &*rule.principal == EACH_USER)
        && (rule.host == Host::Any || rule.host == Host::Address(host))
}

/// Returns a generator of numbers below a bound, from the seed.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = seed;
    move |below| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    }
}

/// Few letters, some of several bytes, so that names are often prefixes of each other.
fn random_name(next: &mut dyn FnMut(u64) -> u64) -> String {
    let length = 1 + next(5);
    (0..length)
        .map(|_| ['a', 'b', 'é'][next(3) as usize])
        .collect()
}

pub(crate) fn random_rule(next: &mut dyn FnMut(u64) -> u64) -> AclBinding {
    let name = match next(8) {
        0 => WILDCARD.into(),
        _ => random_name(next),
    };
    AclBinding {
        resource: [Resource::Topic, Resource::Group][next(2) as usize],
        pattern: [PatternType::Literal, PatternType::Prefixed][next(2) as usize],
        name: name.as_str().into(),
        principal: ["User:a", "User:b", EACH_USER, "Group:a"][next(4) as usize].into(),
        host: Host::parse(["*", "10.0.0.1", "::1", "host"][next(4) as usize]),
        operation: Operation::EACH[next(11) as usize],
        permission: [Permission::Allow, Permission::Allow, Permission::Deny][next(3) as usize],
    }
}

#[test]
fn the_index_answers_as_a_plain_list_does() {
    for seed in 1..=60_u64 {
        let mut next = random(seed * 0x9e37_79b9);
        let (mut acls, mut naive) = (Acls::default(), Naive::default());
        let authorizer = Authorizer::default();
        let size = 1 + next(60);
        for step in 0..300 {
            if next(100) < size {
                let id = KafkaUuid::from_parts(2, step);
                let rule = random_rule(&mut next);
                acls.add(id, rule.clone());
                naive.add(id, rule);
            } else if !naive.0.is_empty() && next(3) == 0 {
                let (id, _) = naive.0.remove(next(naive.0.len() as u64) as usize);
                acls.remove(id);
            }
            let principal = ["a", "b", "c"][next(3) as usize];
            let host: IpAddr = ["10.0.0.1", "::1"][next(2) as usize].parse().unwrap();
            let operation = Operation::EACH[1 + next(10) as usize];
            let resource = [Resource::Topic, Resource::Group][next(2) as usize];
            let name = match next(10) {
                0 => "*b".into(),
                _ => random_name(&mut next),
            };
            let principal = Principal::user(principal);
            let who = (principal.as_str(), host);
            let subject = Subject {
                principal: &principal,
                host,
            };
            assert_eq!(
                authorizer.authorize(&acls, subject, operation, resource, &name),
                naive.authorize(who, operation, resource, &name),
                "seed {seed}, step {step}: {who:?} {operation:?} {resource:?} {name}"
            );
            assert_eq!(
                authorizer.authorize_by_resource_type(&acls, subject, operation, resource),
                naive.authorize_by_resource_type(who, operation, resource),
                "seed {seed}, step {step}: {who:?} {operation:?} {resource:?}"
            );
        }
        for (id, _) in core::mem::take(&mut naive.0) {
            acls.remove(id);
        }
        assert!(acls.is_empty() && acls.bytes() == 0, "seed {seed}");
        let left = format!("{acls:?}");
        assert_eq!(left, format!("{:?}", Acls::default()), "seed {seed}");
    }
}
