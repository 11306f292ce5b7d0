//! Fuzzes answers of an upstream Kafka to the mirror and the command line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::{bounded, round_trip};
use sedge_protocol::{
    ApiKey,
    api::{APIS, Api},
    kafka::generated as g,
};

// The first byte chooses the API, the second its version; the rest is the message.
fuzz_target!(|input: &[u8]| {
    let [api, version, body @ ..] = input else {
        return;
    };
    let api = &APIS[usize::from(*api) % APIS.len()];
    let versions: Vec<i16> = (api.min..=api.max)
        .filter(|version| api.answers(*version))
        .collect();
    let version = versions[usize::from(*version) % versions.len()];
    bounded(body, 3, |body| decode(api, body, version));
});

fn decode(api: &Api, body: &[u8], version: i16) {
    match api.key {
        ApiKey::Produce => round_trip!(g::ProduceResponseData, body, version),
        ApiKey::Fetch => round_trip!(g::FetchResponseData, body, version),
        ApiKey::ListOffsets => round_trip!(g::ListOffsetsResponseData, body, version),
        ApiKey::Metadata => round_trip!(g::MetadataResponseData, body, version),
        ApiKey::OffsetCommit => round_trip!(g::OffsetCommitResponseData, body, version),
        ApiKey::OffsetFetch => round_trip!(g::OffsetFetchResponseData, body, version),
        ApiKey::FindCoordinator => round_trip!(g::FindCoordinatorResponseData, body, version),
        ApiKey::JoinGroup => round_trip!(g::JoinGroupResponseData, body, version),
        ApiKey::Heartbeat => round_trip!(g::HeartbeatResponseData, body, version),
        ApiKey::LeaveGroup => round_trip!(g::LeaveGroupResponseData, body, version),
        ApiKey::SyncGroup => round_trip!(g::SyncGroupResponseData, body, version),
        ApiKey::DescribeGroups => round_trip!(g::DescribeGroupsResponseData, body, version),
        ApiKey::ListGroups => round_trip!(g::ListGroupsResponseData, body, version),
        ApiKey::ApiVersions => round_trip!(g::ApiVersionsResponseData, body, version),
        ApiKey::CreateTopics => round_trip!(g::CreateTopicsResponseData, body, version),
        ApiKey::DeleteTopics => round_trip!(g::DeleteTopicsResponseData, body, version),
        ApiKey::DeleteRecords => round_trip!(g::DeleteRecordsResponseData, body, version),
        ApiKey::InitProducerId => round_trip!(g::InitProducerIdResponseData, body, version),
        ApiKey::OffsetForLeaderEpoch => {
            round_trip!(g::OffsetForLeaderEpochResponseData, body, version)
        }
        ApiKey::DescribeAcls => round_trip!(g::DescribeAclsResponseData, body, version),
        ApiKey::CreateAcls => round_trip!(g::CreateAclsResponseData, body, version),
        ApiKey::DeleteAcls => round_trip!(g::DeleteAclsResponseData, body, version),
        ApiKey::ElectLeaders => round_trip!(g::ElectLeadersResponseData, body, version),
        ApiKey::AlterPartitionReassignments => {
            round_trip!(g::AlterPartitionReassignmentsResponseData, body, version)
        }
        ApiKey::ListPartitionReassignments => {
            round_trip!(g::ListPartitionReassignmentsResponseData, body, version)
        }
        ApiKey::AlterClientQuotas => {
            round_trip!(g::AlterClientQuotasResponseData, body, version)
        }
        ApiKey::DescribeClientQuotas => {
            round_trip!(g::DescribeClientQuotasResponseData, body, version)
        }
        ApiKey::DescribeUserScramCredentials => {
            round_trip!(g::DescribeUserScramCredentialsResponseData, body, version)
        }
        ApiKey::AlterUserScramCredentials => {
            round_trip!(g::AlterUserScramCredentialsResponseData, body, version)
        }
        ApiKey::SaslHandshake => round_trip!(g::SaslHandshakeResponseData, body, version),
        ApiKey::SaslAuthenticate => round_trip!(g::SaslAuthenticateResponseData, body, version),
        ApiKey::CreateDelegationToken => {
            round_trip!(g::CreateDelegationTokenResponseData, body, version)
        }
        ApiKey::RenewDelegationToken => {
            round_trip!(g::RenewDelegationTokenResponseData, body, version)
        }
        ApiKey::ExpireDelegationToken => {
            round_trip!(g::ExpireDelegationTokenResponseData, body, version)
        }
        ApiKey::DescribeDelegationToken => {
            round_trip!(g::DescribeDelegationTokenResponseData, body, version)
        }
        ApiKey::DescribeConfigs => round_trip!(g::DescribeConfigsResponseData, body, version),
        ApiKey::AlterConfigs => round_trip!(g::AlterConfigsResponseData, body, version),
        ApiKey::DescribeLogDirs => round_trip!(g::DescribeLogDirsResponseData, body, version),
        ApiKey::CreatePartitions => round_trip!(g::CreatePartitionsResponseData, body, version),
        ApiKey::DeleteGroups => round_trip!(g::DeleteGroupsResponseData, body, version),
        ApiKey::IncrementalAlterConfigs => {
            round_trip!(g::IncrementalAlterConfigsResponseData, body, version)
        }
        ApiKey::OffsetDelete => round_trip!(g::OffsetDeleteResponseData, body, version),
        ApiKey::DescribeCluster => round_trip!(g::DescribeClusterResponseData, body, version),
        ApiKey::ListConfigResources => {
            round_trip!(g::ListConfigResourcesResponseData, body, version)
        }
        ApiKey::DescribeTopicPartitions => {
            round_trip!(g::DescribeTopicPartitionsResponseData, body, version)
        }
        other => panic!("{other:?} is advertised and not fuzzed"),
    }
}
