//! Access rules in the metadata: their records, and how the controller adds and removes them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::metadata_records::{
    AccessControlEntryRecord, MetadataRecord, RemoveAccessControlEntryRecord,
};

use super::{CommandError, CommandReply};
use crate::machine::Plan;
use crate::security::limits::{
    ACL_FILTERS_PER_REQUEST_MAX, ACLS_BYTES_MAX, ACLS_MAX, ACLS_PER_REQUEST_MAX,
};
use crate::security::{
    AclBinding, AclFilter, Acls, Host, Operation, PatternType, Permission, Resource,
};

/// Converts a record to a rule. Returns `None` if Kafka does not define one of its numbers; the
/// decoder refuses such records.
pub(super) fn binding(record: &AccessControlEntryRecord) -> Option<AclBinding> {
    Some(AclBinding {
        resource: Resource::from_number(record.resource_type)?,
        pattern: PatternType::from_number(record.pattern_type)?,
        name: record.resource_name.as_str().into(),
        principal: record.principal.as_str().into(),
        host: Host::parse(&record.host),
        operation: Operation::from_number(record.operation)?,
        permission: Permission::from_number(record.permission_type)?,
    })
}

fn record(id: KafkaUuid, rule: &AclBinding) -> MetadataRecord {
    MetadataRecord::AccessControlEntry(AccessControlEntryRecord {
        id,
        resource_type: rule.resource.number(),
        resource_name: rule.name.to_string(),
        pattern_type: rule.pattern.number(),
        principal: rule.principal.to_string(),
        host: rule.host.to_string(),
        operation: rule.operation.number(),
        permission_type: rule.permission.number(),
    })
}

/// Returns the records that recreate these rules, for a snapshot.
pub(super) fn records(acls: &Acls) -> impl Iterator<Item = MetadataRecord> + '_ {
    acls.iter().map(|(id, rule)| record(id, rule))
}

/// Plans the creation of rules. A rule that exists already, or is repeated in the command, counts
/// as added.
pub(super) fn plan_create(
    acls: &Acls,
    rules: Vec<(KafkaUuid, AclBinding)>,
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    let (mut count, mut bytes) = (acls.len(), acls.bytes());
    let mut new = BTreeSet::new();
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(rules.len());
    for (id, rule) in rules {
        if acls.contains(&rule) || new.contains(&rule) {
            results.push(Ok(()));
            continue;
        }
        (count, bytes) = (count + 1, bytes + rule.bytes());
        if count > ACLS_MAX || bytes > ACLS_BYTES_MAX {
            (count, bytes) = (count - 1, bytes - rule.bytes());
            let message = format!(
                "The limit of access rules is reached: {count} rules with {bytes} bytes; at most \
                 {ACLS_MAX} rules with {ACLS_BYTES_MAX} bytes are allowed. Replace several rules \
                 by one rule for a prefix."
            );
            results.push(Err(CommandError::new(ErrorCode::PolicyViolation, message)));
            continue;
        }
        // QuorumController: BoundedListTooLongException.
        if records.len() >= ACLS_PER_REQUEST_MAX {
            return Err(CommandError::new(
                ErrorCode::PolicyViolation,
                "Unable to perform excessively large batch operation.",
            ));
        }
        records.push(record(id, &rule));
        new.insert(rule);
        results.push(Ok(()));
    }
    Ok(Plan {
        records,
        reply: CommandReply::AclsCreated(results),
    })
}

pub(super) fn plan_delete(
    acls: &Acls,
    filters: &[AclFilter],
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    let invalid = |message| Err(CommandError::new(ErrorCode::InvalidRequest, message));
    if filters.len() > ACL_FILTERS_PER_REQUEST_MAX {
        return invalid(format!(
            "Cannot match more than {ACL_FILTERS_PER_REQUEST_MAX} filters in a single delete \
             operation."
        ));
    }
    let mut removed = BTreeMap::new();
    let mut deleted = Vec::with_capacity(filters.len());
    let mut count = 0;
    for filter in filters {
        let mut of_filter = Vec::new();
        for (id, rule) in acls.iter().filter(|(_, rule)| filter.matches(rule)) {
            // A rule that several filters match is returned for each of them.
            count += 1;
            if count > ACLS_PER_REQUEST_MAX {
                return invalid(format!(
                    "Cannot remove more than {ACLS_PER_REQUEST_MAX} acls in a single delete \
                     operation."
                ));
            }
            removed.insert(id.to_bytes(), id);
            of_filter.push(Arc::clone(rule));
        }
        deleted.push(of_filter);
    }
    let records = removed
        .into_values()
        .map(|id| MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord { id }));
    Ok(Plan {
        records: records.collect(),
        reply: CommandReply::AclsDeleted(deleted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine as _, Now};
    use crate::metadata::tests::{machine, run, seen};
    use crate::metadata::{Command, MetadataMachine};
    use crate::security::PatternFilter;
    use sedge_protocol::ids::Offset;

    fn rule(number: u64, principal: &str) -> (KafkaUuid, AclBinding) {
        let rule = AclBinding {
            resource: Resource::Topic,
            pattern: PatternType::Literal,
            name: format!("t{number}").as_str().into(),
            principal: principal.into(),
            host: Host::Any,
            operation: Operation::Read,
            permission: Permission::Allow,
        };
        (KafkaUuid::from_parts(1, number), rule)
    }

    fn of(principal: &str) -> AclFilter {
        AclFilter {
            resource: None,
            pattern: PatternFilter::Any,
            name: None,
            principal: Some(principal.into()),
            host: None,
            operation: None,
            permission: None,
        }
    }

    fn create(machine: &mut MetadataMachine, rules: Vec<(KafkaUuid, AclBinding)>) -> Vec<bool> {
        let command = Command::CreateAcls { rules };
        let CommandReply::AclsCreated(results) = run(machine, &mut Vec::new(), command) else {
            panic!("not created");
        };
        results.iter().map(Result::is_ok).collect()
    }

    #[test]
    fn a_rule_is_there_once_and_goes_by_its_filter() {
        let mut machine = machine();
        let again = (KafkaUuid::from_parts(9, 9), rule(1, "User:a").1);
        let rules = alloc::vec![rule(1, "User:a"), rule(2, "User:b"), again.clone()];
        assert_eq!(create(&mut machine, rules), [true, true, true]);
        assert_eq!(create(&mut machine, alloc::vec![again]), [true]);
        assert_eq!(machine.image().acls().len(), 2);
        let mut rebuilt = self::machine();
        for record in machine.snapshot() {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            rebuilt.apply(Offset(0), &record);
        }
        assert_eq!(seen(&rebuilt), seen(&machine));
        let filters = alloc::vec![of("User:a"), of("User:c"), of("User:a")];
        let command = Command::DeleteAcls { filters };
        let CommandReply::AclsDeleted(deleted) = run(&mut machine, &mut Vec::new(), command) else {
            panic!("not deleted");
        };
        let counts: Vec<usize> = deleted.iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 0, 1]);
        assert_eq!(machine.image().acls().len(), 1);
    }

    #[test]
    fn there_are_only_as_many_rules_as_memory_is_for() {
        let mut machine = machine();
        let mut next = 0;
        let mut some = |count: usize| -> Vec<_> {
            let from = next;
            next += count as u64;
            (from..next).map(|number| rule(number, "User:a")).collect()
        };
        let too_many = Command::CreateAcls {
            rules: some(ACLS_PER_REQUEST_MAX + 1),
        };
        let refused = machine.plan(Now::default(), too_many).unwrap_err();
        assert_eq!(refused.code, ErrorCode::PolicyViolation);
        for _ in 0..ACLS_MAX / ACLS_PER_REQUEST_MAX {
            let results = create(&mut machine, some(ACLS_PER_REQUEST_MAX));
            assert!(results.into_iter().all(|result| result));
        }
        assert_eq!(create(&mut machine, some(2)), [false, false]);
        assert_eq!(machine.image().acls().len(), ACLS_MAX);
        let all = Command::DeleteAcls {
            filters: alloc::vec![of("User:a")],
        };
        let refused = machine.plan(Now::default(), all).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        let filters = alloc::vec![of("User:b"); ACL_FILTERS_PER_REQUEST_MAX + 1];
        let refused = machine.plan(Now::default(), Command::DeleteAcls { filters });
        assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_long_name_counts_as_much_as_it_takes() {
        let mut machine = machine();
        let long = alloc::string::String::from("User:") + &"n".repeat(30_000);
        let fits = ACLS_BYTES_MAX / 30_000;
        let rules = (0..=fits as u64).map(|number| rule(number, &long));
        let results = create(&mut machine, rules.collect());
        assert!(results.contains(&true) && results.contains(&false));
    }
}
