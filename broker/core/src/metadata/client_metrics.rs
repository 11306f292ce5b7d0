//! Subscriptions to clients' metrics (KIP-714) in the metadata. The caller checks keys and values.

use alloc::format;
use alloc::string::String;

use sedge_protocol::ErrorCode;
use sedge_protocol::metadata_records::{MetadataRecord, ResourceType};

use super::resource_configs::ResourceConfigs;
use super::{CommandError, CommandReply, config};
use crate::limits::CLIENT_METRICS_MAX;
use crate::machine::Plan;

/// All subscriptions, by name, with their keys and values.
pub type ClientMetrics = ResourceConfigs;

/// # Errors
/// POLICY_VIOLATION if there would be too many.
pub(super) fn plan_alter(
    all: &ClientMetrics,
    name: &str,
    changes: &[(String, Option<String>)],
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    if all.get(name).is_none() && all.iter().count() >= CLIENT_METRICS_MAX {
        return Err(CommandError::new(
            ErrorCode::PolicyViolation,
            format!(
                "There are already {CLIENT_METRICS_MAX} subscriptions to clients' metrics, which \
                 is the limit; delete one first."
            ),
        ));
    }
    let records = changes
        .iter()
        .map(|(key, value)| config(ResourceType::ClientMetrics, name, key, value.as_deref()));
    Ok(Plan {
        records: records.collect(),
        reply: CommandReply::Done,
    })
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec;
    use alloc::vec::Vec;

    use sedge_protocol::ids::Offset;

    use super::*;
    use crate::machine::{Machine as _, Now};
    use crate::metadata::tests::machine;
    use crate::metadata::{Command, MetadataMachine};

    fn alter(machine: &mut MetadataMachine, name: &str, key: &str, value: Option<&str>) -> bool {
        let command = Command::AlterClientMetrics {
            name: name.into(),
            changes: vec![(key.into(), value.map(Into::into))],
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
    fn subscriptions_are_in_a_snapshot_until_their_last_key_goes() {
        let mut machine = machine();
        assert!(alter(&mut machine, "a", "metrics", Some("x")));
        assert!(alter(&mut machine, "a", "interval.ms", Some("100")));
        assert!(alter(&mut machine, "a", "metrics", None));
        let mut again = crate::metadata::tests::machine();
        for record in machine.snapshot() {
            again.apply(Offset(0), &record);
        }
        let all: Vec<_> = again.image().client_metrics().iter().collect();
        let left = BTreeMap::from([("interval.ms".into(), "100".into())]);
        assert_eq!(all, vec![("a", &left)]);
        assert!(alter(&mut again, "a", "interval.ms", None));
        assert_eq!(again.image().client_metrics().iter().count(), 0);
    }

    #[test]
    fn subscriptions_are_limited() {
        let mut machine = machine();
        for number in 0..CLIENT_METRICS_MAX {
            assert!(alter(
                &mut machine,
                &format!("{number}"),
                "metrics",
                Some("x")
            ));
        }
        assert!(!alter(&mut machine, "more", "metrics", Some("x")));
        assert!(alter(&mut machine, "0", "interval.ms", Some("100")));
    }
}
