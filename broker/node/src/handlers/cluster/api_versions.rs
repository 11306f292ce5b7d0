//! ApiVersions (key 18): lists the requests that this broker answers, and the cluster's features.

use sedge_core::metadata::features::FEATURES;
use sedge_protocol::ErrorCode;
use sedge_protocol::api::{APIS, Api};
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::kafka::generated::api_versions_request::ApiVersionsRequestData;
use sedge_protocol::kafka::generated::api_versions_response::{
    ApiVersion, ApiVersionsResponseData, FinalizedFeatureKey, SupportedFeatureKey,
};

use crate::handlers::Request;
use crate::net::service::{Answer, ClientSoftware, Disconnect};
use crate::net::unsupported::shortened;

/// Clients of earlier versions take a feature with a lowest level of 0 for an error.
const FIRST_VERSION_WITH_LEVEL_0: i16 = 4;

pub async fn handle(request: &Request, message: ApiVersionsRequestData) -> ApiVersionsResponseData {
    let (name, version) = (
        &message.client_software_name,
        &message.client_software_version,
    );
    if !name.as_str().is_empty() {
        request.introduce(ClientSoftware {
            name: shortened(name.as_str()),
            version: shortened(version.as_str()),
        });
    }
    let (features, epoch) = request.features();
    ApiVersionsResponseData::default()
        .with_api_keys(APIS.iter().copied().map(entry).collect())
        .with_supported_features(supported(request.version()))
        .with_finalized_features_epoch(epoch)
        .with_finalized_features(features.finalized().map(finalized).collect())
}

fn supported(version: i16) -> Vec<SupportedFeatureKey> {
    let lowest = i16::from(version < FIRST_VERSION_WITH_LEVEL_0);
    let shown = FEATURES.iter().filter(|feature| feature.min >= lowest);
    let supported = shown.map(|feature| {
        SupportedFeatureKey::default()
            .with_name(KafkaString::from_static(feature.name))
            .with_min_version(feature.min)
            .with_max_version(feature.max)
    });
    supported.collect()
}

fn finalized((name, level): (&'static str, i16)) -> FinalizedFeatureKey {
    FinalizedFeatureKey::default()
        .with_name(KafkaString::from_static(name))
        .with_min_version_level(level)
        .with_max_version_level(level)
}

/// KIP-511: answers a version above ours in version 0, with our range of this one API.
pub fn refuse(request: &Request) -> Result<Answer, Disconnect> {
    let own = APIS
        .iter()
        .filter(|api| api.key == ApiKey::ApiVersions)
        .copied()
        .map(entry)
        .collect();
    let response = ApiVersionsResponseData::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(own);
    request
        .encode_as(0, |buffer, version| response.write(buffer, version))
        .map(Answer::Now)
}

fn entry(api: Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.min)
        .with_max_version(api.max)
}
