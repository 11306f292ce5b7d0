//! Quotas in the metadata: their records, and the controller's changes of them
//! (`ClientQuotaControlManager`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::metadata_records::{ClientQuotaRecord, MetadataRecord};

use super::{CommandError, CommandReply, QuotaAlteration, QuotaEntity};
use crate::machine::Plan;
use crate::quota::limits::{QUOTA_ENTITIES_MAX, QUOTAS_BYTES_MAX, QUOTAS_PER_REQUEST_MAX};
use crate::quota::{Entity, Invalid, Key, Quotas};

/// Returns the quota that a record sets. `None` if this version does not know the kind of quota.
pub(super) fn target(record: &ClientQuotaRecord) -> Option<(Entity, Key)> {
    let parts = record.entity.iter();
    let parts = parts.map(|(kind, name)| (kind.as_str(), name.as_deref()));
    Some((Entity::parse(parts).ok()?, Key::parse(&record.key)?))
}

fn record(entity: &Entity, key: Key, value: Option<f64>) -> MetadataRecord {
    let parts = entity.parts();
    let parts = parts.map(|(kind, name)| (kind.into(), name.map(Into::into)));
    MetadataRecord::ClientQuota(ClientQuotaRecord {
        entity: parts.collect(),
        key: key.name().into(),
        value,
    })
}

/// Returns the records that set these quotas.
pub(super) fn records(quotas: &Quotas) -> impl Iterator<Item = MetadataRecord> + '_ {
    quotas.iter().flat_map(|(entity, limits)| {
        let limits = limits.iter();
        limits.map(move |(key, value)| record(&entity, key, Some(value)))
    })
}

/// Plans a change of quotas. The changes of one entity are made all together or not at all; the
/// entities of a command do not depend on each other.
pub(super) fn plan_alter(
    quotas: &Quotas,
    alterations: Vec<QuotaAlteration>,
    validate_only: bool,
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    let mut records = Vec::new();
    let mut results: BTreeMap<QuotaEntity, Result<(), CommandError>> = BTreeMap::new();
    // Entities and bytes that the command adds, for the limits.
    let (mut added, mut bytes) = (BTreeSet::new(), quotas.bytes());
    for QuotaAlteration { entity, changes } in alterations {
        let result = if results.contains_key(&entity) {
            let entity = shown(&entity);
            Err(invalid(format!("Ignoring duplicate entity {entity}")))
        } else {
            changed(quotas, &entity, &changes).and_then(|(entity, new)| {
                let is_added = quotas.limits(&entity).is_none() && !new.is_empty();
                if is_added && !added.contains(&entity) {
                    let all = bytes + Quotas::bytes_of(&entity);
                    check_room(quotas.len() + added.len() + 1, all)?;
                    bytes = all;
                    added.insert(entity);
                }
                records.extend(new);
                Ok(())
            })
        };
        results.insert(entity, result);
        if records.len() > QUOTAS_PER_REQUEST_MAX {
            // QuorumController: BoundedListTooLongException.
            return Err(CommandError::new(
                ErrorCode::PolicyViolation,
                "Unable to perform excessively large batch operation.",
            ));
        }
    }
    if validate_only {
        records.clear();
    }
    Ok(Plan {
        records,
        reply: CommandReply::QuotasAltered(results.into_iter().collect()),
    })
}

fn check_room(entities: usize, bytes: usize) -> Result<(), CommandError> {
    if entities <= QUOTA_ENTITIES_MAX && bytes <= QUOTAS_BYTES_MAX {
        return Ok(());
    }
    Err(CommandError::new(
        ErrorCode::PolicyViolation,
        format!(
            "There would be {entities} entities with quotas, which take {bytes} bytes; the limits \
             are {QUOTA_ENTITIES_MAX} and {QUOTAS_BYTES_MAX}. Set a quota of a default entity \
             instead: it applies to all that have none of their own."
        ),
    ))
}

/// Returns the entity, and the records of its quotas that change.
fn changed(
    quotas: &Quotas,
    parts: &QuotaEntity,
    changes: &[(String, Option<f64>)],
) -> Result<(Entity, Vec<MetadataRecord>), CommandError> {
    let mut wanted: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for (key, value) in changes {
        if wanted.insert(key, *value).is_some() {
            let entity = shown(parts);
            return Err(invalid(format!("Ignoring duplicate entity {entity}")));
        }
    }
    let named = parts.iter();
    let named = named.map(|(kind, name)| (kind.as_str(), name.as_deref()));
    let entity = Entity::parse(named)?;
    let present = quotas.limits(&entity);
    let mut records = Vec::new();
    for (name, value) in wanted {
        let key = match value {
            Some(value) => entity.check(name, value)?,
            // Only a quota that is set can be removed.
            None => match Key::parse(name) {
                Some(key) => key,
                None => continue,
            },
        };
        if present.and_then(|limits| limits.get(key)) != value {
            records.push(record(&entity, key, value));
        }
    }
    Ok((entity, records))
}

/// Formats an entity as Kafka does.
fn shown(entity: &QuotaEntity) -> String {
    let parts: Vec<_> = entity
        .iter()
        .map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("null")))
        .collect();
    format!("ClientQuotaEntity(entries={{{}}})", parts.join(", "))
}

fn invalid(message: String) -> CommandError {
    CommandError::new(ErrorCode::InvalidRequest, message)
}

impl From<Invalid> for CommandError {
    fn from(invalid: Invalid) -> Self {
        Self::new(invalid.code, invalid.message)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::string::ToString as _;

    use super::*;
    use crate::machine::{Machine as _, Now};
    use crate::metadata::tests::{machine, run, seen};
    use crate::metadata::{Command, MetadataMachine};
    use crate::quota::Name;
    use sedge_protocol::ids::Offset;

    fn entity(parts: &[(&str, &str)]) -> QuotaEntity {
        let parts = parts.iter();
        let named = |name: &str| Some(name.into()).filter(|name: &String| !name.is_empty());
        parts
            .map(|(kind, name)| ((*kind).into(), named(name)))
            .collect()
    }

    fn alteration(parts: &[(&str, &str)], changes: &[(&str, Option<f64>)]) -> QuotaAlteration {
        let changes = changes.iter();
        QuotaAlteration {
            entity: entity(parts),
            changes: changes
                .map(|(key, value)| ((*key).into(), *value))
                .collect(),
        }
    }

    pub(crate) fn random_alteration(next: &mut dyn FnMut(u64) -> u64) -> Command {
        let alterations = (0..=next(3)).map(|_| {
            let entity = crate::quota::random_entity(next);
            let parts = entity.parts();
            let parts = parts.map(|(kind, name)| (kind.into(), name.map(Into::into)));
            let key = Key::ALL[next(5) as usize].name();
            let value = (next(3) > 0).then(|| 1.0 + next(100) as f64);
            QuotaAlteration {
                entity: parts.collect(),
                changes: [(key.into(), value)].into(),
            }
        });
        Command::AlterQuotas {
            alterations: alterations.collect(),
            validate_only: false,
        }
    }

    fn alter(
        machine: &mut MetadataMachine,
        alterations: &[QuotaAlteration],
    ) -> Vec<Result<(), String>> {
        let command = Command::AlterQuotas {
            alterations: alterations.to_vec(),
            validate_only: false,
        };
        let CommandReply::QuotasAltered(results) = run(machine, &mut Vec::new(), command) else {
            panic!("not altered");
        };
        let results = results.into_iter();
        results
            .map(|(_, result)| result.map_err(|error| error.message))
            .collect()
    }

    #[test]
    fn quotas_are_set_changed_removed_and_are_in_the_snapshot() {
        let mut machine = machine();
        let (rate, share) = ("producer_byte_rate", "request_percentage");
        let user = [("user", "u")];
        let both = [("user", "u"), ("client-id", "")];
        let altered = alter(
            &mut machine,
            &[
                alteration(&user, &[(rate, Some(1_024.0)), (share, Some(12.5))]),
                alteration(&both, &[(rate, Some(2_048.0))]),
            ],
        );
        assert_eq!(altered, [Ok(()), Ok(())]);
        let mut rebuilt = self::machine();
        for record in machine.snapshot() {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            rebuilt.apply(Offset(0), &record);
        }
        assert_eq!(seen(&rebuilt), seen(&machine));
        // A quota that does not change, or is not set, gives no record.
        let same = Command::AlterQuotas {
            alterations: [alteration(&user, &[(rate, Some(1_024.0)), ("none", None)])].into(),
            validate_only: false,
        };
        assert_eq!(machine.plan(Now::default(), same).unwrap().records, []);
        let all = [
            alteration(&user, &[(rate, None), (share, None)]),
            alteration(&both, &[(rate, None)]),
        ];
        let checked = Command::AlterQuotas {
            alterations: all.to_vec(),
            validate_only: true,
        };
        assert_eq!(machine.plan(Now::default(), checked).unwrap().records, []);
        assert_eq!(machine.image().quotas().len(), 2);
        assert_eq!(alter(&mut machine, &all), [Ok(()), Ok(())]);
        assert!(machine.image().quotas().is_empty());
    }

    #[test]
    fn a_wrong_change_leaves_its_entity_alone_and_no_other_one() {
        let mut machine = machine();
        let rate = "consumer_byte_rate";
        let altered = alter(
            &mut machine,
            &[
                alteration(&[("client-id", "c")], &[(rate, Some(1.0))]),
                alteration(
                    &[("client-id", "d")],
                    &[(rate, Some(1.0)), ("x", Some(1.0))],
                ),
                alteration(&[("client-id", "e")], &[(rate, Some(1.0)), (rate, None)]),
                alteration(&[("client-id", "f")], &[(rate, Some(1.0))]),
                alteration(&[("client-id", "f")], &[(rate, Some(2.0))]),
                alteration(&[("group", "g")], &[(rate, Some(1.0))]),
            ],
        );
        let twice = |name: &str| {
            let entity = format!("ClientQuotaEntity(entries={{client-id={name}}})");
            Err(format!("Ignoring duplicate entity {entity}"))
        };
        let expected = [
            Ok(()),
            Err("Invalid configuration key x".to_string()),
            twice("e"),
            twice("f"),
            Err("Unhandled client quota entity type: group".to_string()),
        ];
        assert_eq!(altered, expected);
        let names = machine.image().quotas().iter();
        let names: Vec<_> = names.map(|(entity, _)| entity).collect();
        let client = |name: &str| Entity::Client(Name::new(Some(name)));
        assert_eq!(names, [client("c"), client("f")]);
    }

    #[test]
    fn there_are_only_as_many_entities_as_memory_is_for() {
        let mut machine = machine();
        let rate = "producer_byte_rate";
        let some = |from: usize, count: usize| -> Vec<_> {
            let numbers = from..from + count;
            numbers
                .map(|number| {
                    let name = format!("u{number}");
                    alteration(&[("user", &name)], &[(rate, Some(1.0))])
                })
                .collect()
        };
        let mut two_each = some(0, QUOTAS_PER_REQUEST_MAX / 2 + 1);
        for alteration in &mut two_each {
            let other = ("request_percentage".into(), Some(1.0));
            alteration.changes.push(other);
        }
        let too_many = Command::AlterQuotas {
            alterations: two_each,
            validate_only: false,
        };
        let refused = machine.plan(Now::default(), too_many).unwrap_err();
        assert_eq!(refused.code, ErrorCode::PolicyViolation);
        let altered = alter(&mut machine, &some(0, QUOTA_ENTITIES_MAX));
        assert!(altered.iter().all(Result::is_ok));
        let altered = alter(&mut machine, &some(QUOTA_ENTITIES_MAX - 1, 3));
        let is_ok: Vec<_> = altered.iter().map(Result::is_ok).collect();
        assert_eq!(is_ok.iter().filter(|is_ok| **is_ok).count(), 1);
        assert_eq!(machine.image().quotas().len(), QUOTA_ENTITIES_MAX);
    }

    #[test]
    fn a_long_name_counts_as_much_as_it_takes() {
        let mut machine = machine();
        let long = "n".repeat(30_000);
        let alterations = (0..=QUOTAS_BYTES_MAX / 30_000).map(|number| {
            let name = format!("{number}{long}");
            alteration(&[("user", &name)], &[("producer_byte_rate", Some(1.0))])
        });
        let altered = alter(&mut machine, &alterations.collect::<Vec<_>>());
        assert!(altered.contains(&Ok(())) && altered.iter().any(Result::is_err));
        assert!(machine.image().quotas().bytes() <= QUOTAS_BYTES_MAX);
    }
}
