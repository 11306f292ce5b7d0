//! UpdateFeatures (key 57, KIP-584): changes the level of features, such as `transaction.version`.

use std::collections::BTreeMap;

use sedge_core::metadata::{Command, FeatureUpdate, UpgradeType};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::update_features_request::{
    FeatureUpdateKey, UpdateFeaturesRequestData,
};
use sedge_protocol::kafka::generated::update_features_response::{
    UpdatableFeatureResult, UpdateFeaturesResponseData,
};

use crate::handlers::Request;

/// The last version whose responses have a result for each feature.
const LAST_VERSION_WITH_RESULTS: i16 = 1;

pub async fn handle(
    request: &Request,
    message: UpdateFeaturesRequestData,
) -> UpdateFeaturesResponseData {
    let version = request.version();
    let updates: BTreeMap<String, FeatureUpdate> = message
        .feature_updates
        .iter()
        .map(|of| (of.feature.to_string(), update(of, version)))
        .collect();
    let names: Vec<String> = updates.keys().cloned().collect();
    let command = Command::UpdateFeatures {
        updates,
        validate_only: message.validate_only,
    };
    let response = UpdateFeaturesResponseData::default();
    match request.command(command).await {
        Ok(_) if version <= LAST_VERSION_WITH_RESULTS => {
            let results = names.into_iter().map(|name| {
                UpdatableFeatureResult::default()
                    .with_feature(KafkaString::from(name))
                    // As Kafka, which names the error of a success.
                    .with_error_message(Some(KafkaString::from_static("NONE")))
            });
            response.with_results(results.collect())
        }
        Ok(_) => response,
        Err(refusal) => response
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into())),
    }
}

fn update(of: &FeatureUpdateKey, version: i16) -> FeatureUpdate {
    let upgrade_type = match version {
        0 if of.allow_downgrade => Some(UpgradeType::SafeDowngrade),
        0 => Some(UpgradeType::Upgrade),
        _ => UpgradeType::from_wire(of.upgrade_type),
    };
    FeatureUpdate {
        level: of.max_version_level,
        upgrade_type,
    }
}
