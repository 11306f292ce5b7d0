//! ApiVersions (key 18): lists the requests that this broker answers.

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

/// KIP-890: clients take a new epoch with each transaction. The only finalized feature: of the
/// others, clients then only use what works here.
const TRANSACTION_VERSION: &str = "transaction.version";
const TRANSACTION_VERSION_MAX: i16 = 2;

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
    ApiVersionsResponseData::default()
        .with_api_keys(APIS.iter().copied().map(entry).collect())
        .with_supported_features(vec![
            SupportedFeatureKey::default()
                .with_name(KafkaString::from(TRANSACTION_VERSION.to_owned()))
                .with_max_version(TRANSACTION_VERSION_MAX),
        ])
        .with_finalized_features_epoch(0)
        .with_finalized_features(vec![
            FinalizedFeatureKey::default()
                .with_name(KafkaString::from(TRANSACTION_VERSION.to_owned()))
                .with_min_version_level(TRANSACTION_VERSION_MAX)
                .with_max_version_level(TRANSACTION_VERSION_MAX),
        ])
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
