//! Configurations of groups: those of consumer groups, and the keys of mirror links that were made
//! while the broker ran, which are the configuration of a group by the link's name. The caller
//! checks names and values.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::metadata_records::{MetadataRecord, ResourceType};

use super::resource_configs::{Keys, ResourceConfigs};
use super::{CommandError, CommandReply, config};
use crate::limits::{GROUP_KEYS_MAX, GROUPS_CONFIGURED_MAX, LINKS_CONFIGURED_MAX};
use crate::machine::Plan;
use crate::mirror::GROUP_PREFIX;

/// The keys of one group, with their values.
pub type GroupConfig = Keys;

/// All groups with configurations.
pub type GroupConfigs = ResourceConfigs;

pub(super) fn plan_alter(
    groups: &GroupConfigs,
    group: &str,
    changes: &[(String, Option<String>)],
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    let set = changes.iter().filter(|(_, value)| value.is_some());
    let refused = |message| Err(CommandError::new(ErrorCode::PolicyViolation, message));
    let before = groups.get(group).map_or(0, BTreeMap::len);
    let is_link = |group: &str| group.starts_with(GROUP_PREFIX);
    let (what, most) = if is_link(group) {
        ("links", LINKS_CONFIGURED_MAX)
    } else {
        ("groups", GROUPS_CONFIGURED_MAX)
    };
    let others = groups
        .iter()
        .filter(|(other, _)| is_link(other) == is_link(group))
        .count();
    if before == 0 && others >= most {
        return refused(format!(
            "There are already {most} {what} with configurations, which is the limit."
        ));
    }
    if before + set.count() > GROUP_KEYS_MAX {
        return refused(format!("A group has at most {GROUP_KEYS_MAX} keys."));
    }
    let records: Vec<MetadataRecord> = changes
        .iter()
        .map(|(key, value)| config(ResourceType::Group, group, key, value.as_deref()))
        .collect();
    Ok(Plan {
        records,
        reply: CommandReply::Done,
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use sedge_protocol::ids::Offset;

    use super::*;
    use crate::machine::{Machine as _, Now};
    use crate::metadata::tests::machine;
    use crate::metadata::{Command, MetadataMachine};

    fn alter(machine: &mut MetadataMachine, group: &str, changes: &[(&str, Option<&str>)]) -> bool {
        let owned = changes
            .iter()
            .map(|(key, value)| ((*key).into(), value.map(Into::into)));
        let command = Command::AlterGroupConfigs {
            group: group.into(),
            changes: owned.collect(),
        };
        let Ok(plan) = machine.plan(Now::default(), command) else {
            return false;
        };
        for record in &plan.records {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            machine.apply(Offset(0), &record);
        }
        true
    }

    #[test]
    fn configurations_of_groups_are_in_a_snapshot_until_their_last_key_goes() {
        let mut machine = machine();
        assert!(alter(
            &mut machine,
            "a",
            &[("x", Some("1")), ("y", Some("2"))]
        ));
        assert!(alter(&mut machine, "a", &[("x", None)]));
        let mut again = crate::metadata::tests::machine();
        for record in machine.snapshot() {
            again.apply(Offset(0), &record);
        }
        let all: Vec<_> = again.image().group_configs().iter().collect();
        let left = BTreeMap::from([("y".into(), "2".into())]);
        assert_eq!(all, vec![("a", &left)]);
        assert_eq!(format!("{:?}", again.image().group_configs()), "{\"a\"}");
        assert!(alter(&mut again, "a", &[("y", None)]));
        assert_eq!(again.image().group_configs().iter().count(), 0);
    }

    #[test]
    fn groups_and_keys_are_limited() {
        let mut machine = machine();
        for (prefix, most) in [
            ("", GROUPS_CONFIGURED_MAX),
            (GROUP_PREFIX, LINKS_CONFIGURED_MAX),
        ] {
            for number in 0..most {
                let group = format!("{prefix}{number}");
                assert!(alter(&mut machine, &group, &[("x", Some("1"))]));
            }
            let more = format!("{prefix}more");
            assert!(!alter(&mut machine, &more, &[("x", Some("1"))]));
        }
        assert!(alter(&mut machine, "0", &[("y", Some("1"))]));
        let names: Vec<String> = (0..GROUP_KEYS_MAX).map(|n| format!("k{n}")).collect();
        let many: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Some("1")))
            .collect();
        assert!(!alter(&mut machine, "0", &many));
    }
}
