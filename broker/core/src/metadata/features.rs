//! Features of the cluster (KIP-584): the levels that this build supports, and the level in force,
//! which `UpdateFeatures` changes.
//!
//! A feature without a record has its default level. The record of a disabled feature has level 0
//! and stays, because the default may be higher.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use sedge_protocol::ErrorCode;
use sedge_protocol::metadata_records::{FeatureLevelRecord, MetadataRecord};

use super::{CommandError, CommandReply, FeatureUpdate, UpgradeType};
use crate::limits::FEATURES_MAX;
use crate::machine::Plan;

/// The feature that names the format of `__cluster_metadata`.
pub const METADATA_VERSION: &str = "metadata.version";

/// The feature that allows groups of the consumer protocol.
pub const GROUP_VERSION: &str = "group.version";

/// One feature of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    /// The lowest supported level; 0 if the feature can be disabled.
    pub min: i16,
    pub max: i16,
    /// The level in force until `UpdateFeatures` sets one.
    pub default: i16,
}

impl Feature {
    /// Returns the supported levels.
    #[must_use]
    pub const fn levels(&self) -> RangeInclusive<i16> {
        self.min..=self.max
    }
}

/// The features of this build, in the order of their names. Features of Kafka that are missing here
/// are not supported, so that clients do not use them.
pub const FEATURES: &[Feature] = &[
    // KIP-848: without level 1, there are no groups of the consumer protocol.
    Feature {
        name: GROUP_VERSION,
        min: 0,
        max: 1,
        default: 1,
    },
    // The level of Apache Kafka 4.3. There is one format of the metadata so far.
    Feature {
        name: METADATA_VERSION,
        min: 30,
        max: 30,
        default: 30,
    },
    // KIP-890: with level 2, clients take a new epoch with each transaction.
    Feature {
        name: "transaction.version",
        min: 0,
        max: 2,
        default: 2,
    },
];

/// The levels that were set while the broker ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    set: BTreeMap<String, i16>,
}

impl Features {
    /// Returns the level in force; 0 for a disabled or unknown feature.
    #[must_use]
    pub fn level(&self, name: &str) -> i16 {
        let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
            return 0;
        };
        let level = self.set.get(name).copied().unwrap_or(feature.default);
        // Another build may have set a level that this one lacks.
        level.clamp(feature.min, feature.max)
    }

    /// Returns the enabled features with their levels.
    pub fn finalized(&self) -> impl Iterator<Item = (&'static str, i16)> + '_ {
        let all = FEATURES.iter().map(|of| (of.name, self.level(of.name)));
        all.filter(|(_, level)| *level > 0)
    }

    pub(super) fn set(&mut self, record: &FeatureLevelRecord) {
        if self.set.len() < FEATURES_MAX || self.set.contains_key(&record.name) {
            self.set.insert(record.name.clone(), record.level);
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        self.set.iter().map(|(name, level)| record(name, *level))
    }
}

/// Plans all updates, or refuses them all.
///
/// # Errors
/// INVALID_UPDATE_VERSION for the first update, by name, that is not possible.
pub(super) fn plan_update(
    features: &Features,
    updates: &BTreeMap<String, FeatureUpdate>,
    validate_only: bool,
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    let mut records = Vec::new();
    for (name, update) in updates {
        check(features, name, *update).map_err(|why| {
            let level = update.level;
            let message = format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {level} for feature {name}. {why}"
            );
            CommandError::new(ErrorCode::InvalidUpdateVersion, message)
        })?;
        // Disabling an unknown feature changes nothing.
        let is_known = FEATURES.iter().any(|of| of.name == name);
        if is_known && features.level(name) != update.level {
            records.push(record(name, update.level));
        }
    }
    if validate_only {
        records.clear();
    }
    Ok(Plan {
        records,
        reply: CommandReply::Done,
    })
}

/// Checks in the order of Kafka's `FeatureControlManager`.
fn check(features: &Features, name: &str, update: FeatureUpdate) -> Result<(), String> {
    let Some(upgrade_type) = update.upgrade_type else {
        return Err("The upgrade type is unknown.".into());
    };
    let level = update.level;
    if level < 0 {
        return Err("A level cannot be below 0.".into());
    }
    let known = FEATURES.iter().find(|feature| feature.name == name);
    match known {
        None if level > 0 => return Err("This broker does not support the feature.".into()),
        Some(feature) if !feature.levels().contains(&level) => {
            let Feature { min, max, .. } = feature;
            return Err(format!("This broker only supports levels {min}-{max}."));
        }
        _ => {}
    }
    let current = features.level(name);
    let is_upgrade = upgrade_type == UpgradeType::Upgrade;
    if level < current && is_upgrade {
        return Err(format!(
            "The level in force is {current}; a lower one needs the upgrade type of a safe or \
             unsafe downgrade."
        ));
    }
    if level > current && !is_upgrade {
        return Err(format!(
            "The level in force is {current}; a downgrade cannot raise it."
        ));
    }
    Ok(())
}

fn record(name: &str, level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: name.into(),
        level,
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use sedge_protocol::ids::Offset;

    use super::UpgradeType::{SafeDowngrade, UnsafeDowngrade, Upgrade};
    use super::*;
    use crate::machine::{Machine as _, Now};
    use crate::metadata::tests::machine;
    use crate::metadata::{Command, MetadataMachine};

    const TRANSACTIONS: &str = "transaction.version";

    fn update(
        machine: &mut MetadataMachine,
        updates: &[(&str, i16, Option<UpgradeType>)],
        validate_only: bool,
    ) -> Result<(), ErrorCode> {
        let updates = updates.iter().map(|(name, level, upgrade_type)| {
            let (level, upgrade_type) = (*level, *upgrade_type);
            (
                (*name).to_string(),
                FeatureUpdate {
                    level,
                    upgrade_type,
                },
            )
        });
        let command = Command::UpdateFeatures {
            updates: updates.collect(),
            validate_only,
        };
        let plan = machine.plan(Now::default(), command);
        for record in &plan.map_err(|error| error.code)?.records {
            machine.apply(Offset(0), record);
        }
        Ok(())
    }

    #[test]
    fn tables_are_in_order_and_defaults_are_supported() {
        assert!(FEATURES.is_sorted_by(|one, other| one.name < other.name));
        for feature in FEATURES {
            assert!(feature.levels().contains(&feature.default), "{feature:?}");
        }
        assert!(FEATURES.len() <= FEATURES_MAX);
    }

    #[test]
    fn impossible_updates_are_refused() {
        let refused = Err(ErrorCode::InvalidUpdateVersion);
        let table = [
            (METADATA_VERSION, 30, Some(Upgrade), Ok(())),
            (METADATA_VERSION, 31, Some(Upgrade), refused),
            (METADATA_VERSION, 25, Some(UnsafeDowngrade), refused),
            (METADATA_VERSION, 0, Some(UnsafeDowngrade), refused),
            (METADATA_VERSION, -1, Some(Upgrade), refused),
            (METADATA_VERSION, 30, None, refused),
            (TRANSACTIONS, 1, Some(Upgrade), refused),
            (TRANSACTIONS, 1, Some(SafeDowngrade), Ok(())),
            (TRANSACTIONS, 2, Some(SafeDowngrade), Ok(())),
            (TRANSACTIONS, 3, Some(Upgrade), refused),
            ("nothing.version", 1, Some(Upgrade), refused),
            ("nothing.version", 0, Some(SafeDowngrade), Ok(())),
        ];
        for (name, level, upgrade_type, expected) in table {
            let done = update(&mut machine(), &[(name, level, upgrade_type)], true);
            assert_eq!(done, expected, "{name} {level} {upgrade_type:?}");
        }
        let mut machine = machine();
        let lowered = (TRANSACTIONS, 1, Some(SafeDowngrade));
        let unknown = ("zebra.version", 1, Some(Upgrade));
        assert_eq!(update(&mut machine, &[lowered, unknown], false), refused);
        assert_eq!(
            machine.image().features().level(TRANSACTIONS),
            2,
            "none is made"
        );
    }

    #[test]
    fn a_disabled_feature_stays_disabled_after_a_snapshot() {
        let mut machine = machine();
        let disable = [(TRANSACTIONS, 0, Some(SafeDowngrade))];
        assert_eq!(update(&mut machine, &disable, true), Ok(()));
        assert_eq!(machine.image().features().level(TRANSACTIONS), 2);
        assert_eq!(update(&mut machine, &disable, false), Ok(()));
        let mut again = crate::metadata::tests::machine();
        for record in machine.snapshot() {
            again.apply(Offset(0), &record);
        }
        let all: Vec<_> = again.image().features().finalized().collect();
        assert_eq!(all, [(GROUP_VERSION, 1), (METADATA_VERSION, 30)]);
        let raise = [(TRANSACTIONS, 1, Some(Upgrade))];
        assert_eq!(update(&mut again, &raise, false), Ok(()));
        assert_eq!(again.image().features().level(TRANSACTIONS), 1);
    }
}
