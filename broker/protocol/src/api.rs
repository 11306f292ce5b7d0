//! The requests that this broker answers: the table that `ApiVersions` advertises.
//!
//! **Invariant:** every listed version works. Ranges are those of Apache Kafka 4.3; versions that
//! its schemas mark unstable (ApiVersions 5, InitProducerId 6) are left out.

use std::ops::RangeInclusive;

use crate::kafka::generated::{ApiKey, client_api_info};

/// One request kind and the versions of it that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: ApiKey,
    pub min: i16,
    pub max: i16,
}

const fn api(key: ApiKey, min: i16, max: i16) -> Api {
    Api { key, min, max }
}

/// All answered requests, in the order of their numbers.
pub const APIS: &[Api] = &[
    // KAFKA-18659: advertised from 0, because librdkafka before 2.11 infers its codecs from that;
    // versions below 3 are refused.
    api(ApiKey::Produce, 0, 13),
    api(ApiKey::Fetch, 4, 18),
    api(ApiKey::ListOffsets, 1, 11),
    api(ApiKey::Metadata, 0, 13),
    api(ApiKey::OffsetCommit, 2, 10),
    api(ApiKey::OffsetFetch, 1, 10),
    api(ApiKey::FindCoordinator, 0, 6),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 6),
    api(ApiKey::ListGroups, 0, 5),
    api(ApiKey::SaslHandshake, 0, 1),
    api(ApiKey::ApiVersions, 0, 4),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 5),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    api(ApiKey::AddPartitionsToTxn, 0, 5),
    api(ApiKey::AddOffsetsToTxn, 0, 4),
    api(ApiKey::EndTxn, 0, 5),
    api(ApiKey::WriteTxnMarkers, 1, 1),
    api(ApiKey::TxnOffsetCommit, 0, 5),
    api(ApiKey::DescribeAcls, 1, 3),
    api(ApiKey::CreateAcls, 1, 3),
    api(ApiKey::DeleteAcls, 1, 3),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::AlterConfigs, 0, 2),
    api(ApiKey::AlterReplicaLogDirs, 1, 2),
    api(ApiKey::DescribeLogDirs, 1, 5),
    api(ApiKey::SaslAuthenticate, 0, 2),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::CreateDelegationToken, 1, 3),
    api(ApiKey::RenewDelegationToken, 1, 2),
    api(ApiKey::ExpireDelegationToken, 1, 2),
    api(ApiKey::DescribeDelegationToken, 1, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::ElectLeaders, 0, 2),
    api(ApiKey::IncrementalAlterConfigs, 0, 1),
    api(ApiKey::AlterPartitionReassignments, 0, 1),
    api(ApiKey::ListPartitionReassignments, 0, 0),
    api(ApiKey::OffsetDelete, 0, 0),
    api(ApiKey::DescribeClientQuotas, 0, 1),
    api(ApiKey::AlterClientQuotas, 0, 1),
    api(ApiKey::DescribeUserScramCredentials, 0, 0),
    api(ApiKey::AlterUserScramCredentials, 0, 0),
    api(ApiKey::DescribeQuorum, 0, 2),
    api(ApiKey::UpdateFeatures, 0, 2),
    api(ApiKey::DescribeCluster, 0, 2),
    api(ApiKey::DescribeProducers, 0, 0),
    api(ApiKey::UnregisterBroker, 0, 0),
    api(ApiKey::DescribeTransactions, 0, 0),
    api(ApiKey::ListTransactions, 0, 2),
    api(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    api(ApiKey::ConsumerGroupDescribe, 0, 1),
    api(ApiKey::GetTelemetrySubscriptions, 0, 0),
    api(ApiKey::PushTelemetry, 0, 0),
    api(ApiKey::ListConfigResources, 0, 1),
    api(ApiKey::DescribeTopicPartitions, 0, 0),
    api(ApiKey::AddRaftVoter, 0, 1),
    api(ApiKey::RemoveRaftVoter, 0, 0),
];

/// Returns the entry of a request kind, or `None` if this broker does not answer it.
#[must_use]
pub fn supported(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}

impl Api {
    /// Returns whether a request of `version` can be decoded and answered. For Produce, narrower
    /// than the advertised range.
    #[must_use]
    pub fn answers(&self, version: i16) -> bool {
        self.answered().contains(&version)
    }

    /// Returns the versions that are answered.
    #[must_use]
    pub fn answered(&self) -> RangeInclusive<i16> {
        self.min.max(client_api_info(self.key).min_version)..=self.max
    }
}

/// Returns whether `version` of `key` has the flexible format (KIP-482): compact lengths and tagged
/// fields. Every version from the first flexible one counts, including versions above the known
/// range.
#[must_use]
pub fn is_flexible(key: i16, version: i16) -> bool {
    ApiKey::from_i16(key).is_some_and(|key| version >= client_api_info(key).flexible_versions_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codec_has_every_version_that_is_answered() {
        for api in APIS {
            let codec = client_api_info(api.key);
            assert!(api.max <= codec.max_version, "{api:?}");
            assert!(api.answers(api.max) && !api.answers(api.max + 1), "{api:?}");
            assert!(
                api.min == codec.min_version
                    || api.key == ApiKey::Produce
                    || api.min > codec.min_version,
                "{api:?} {codec:?}"
            );
        }
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
    }

    #[test]
    fn produce_is_advertised_lower_than_it_is_answered() {
        let produce = supported(0).unwrap();
        assert_eq!(produce.min, 0);
        assert!(!produce.answers(2) && produce.answers(3) && produce.answers(13));
    }

    #[test]
    fn a_version_above_all_keeps_its_header_format() {
        assert!(is_flexible(18, 99));
        assert!(!is_flexible(18, 2));
        assert!(!is_flexible(4, 9));
    }
}
