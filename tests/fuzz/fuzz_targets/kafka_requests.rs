//! Fuzzes requests of clients: every advertised request, in every version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::{bounded, round_trip};
use sedge_protocol::{
    ApiKey,
    api::{APIS, Api},
    frame::check_produce,
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
    if api.key == ApiKey::Produce && check_produce(body, version).is_err() {
        return;
    }
    match api.key {
        ApiKey::Produce => round_trip!(g::ProduceRequestData, body, version),
        ApiKey::Fetch => round_trip!(g::FetchRequestData, body, version),
        ApiKey::ListOffsets => round_trip!(g::ListOffsetsRequestData, body, version),
        ApiKey::Metadata => round_trip!(g::MetadataRequestData, body, version),
        ApiKey::OffsetCommit => round_trip!(g::OffsetCommitRequestData, body, version),
        ApiKey::OffsetFetch => round_trip!(g::OffsetFetchRequestData, body, version),
        ApiKey::FindCoordinator => round_trip!(g::FindCoordinatorRequestData, body, version),
        ApiKey::JoinGroup => round_trip!(g::JoinGroupRequestData, body, version),
        ApiKey::Heartbeat => round_trip!(g::HeartbeatRequestData, body, version),
        ApiKey::LeaveGroup => round_trip!(g::LeaveGroupRequestData, body, version),
        ApiKey::SyncGroup => round_trip!(g::SyncGroupRequestData, body, version),
        ApiKey::DescribeGroups => round_trip!(g::DescribeGroupsRequestData, body, version),
        ApiKey::ListGroups => round_trip!(g::ListGroupsRequestData, body, version),
        ApiKey::ApiVersions => round_trip!(g::ApiVersionsRequestData, body, version),
        ApiKey::CreateTopics => round_trip!(g::CreateTopicsRequestData, body, version),
        ApiKey::DeleteTopics => round_trip!(g::DeleteTopicsRequestData, body, version),
        ApiKey::DeleteRecords => round_trip!(g::DeleteRecordsRequestData, body, version),
        ApiKey::InitProducerId => round_trip!(g::InitProducerIdRequestData, body, version),
        ApiKey::OffsetForLeaderEpoch => {
            round_trip!(g::OffsetForLeaderEpochRequestData, body, version)
        }
        ApiKey::DescribeAcls => round_trip!(g::DescribeAclsRequestData, body, version),
        ApiKey::CreateAcls => round_trip!(g::CreateAclsRequestData, body, version),
        ApiKey::DeleteAcls => round_trip!(g::DeleteAclsRequestData, body, version),
        ApiKey::ElectLeaders => round_trip!(g::ElectLeadersRequestData, body, version),
        ApiKey::AlterPartitionReassignments => {
            round_trip!(g::AlterPartitionReassignmentsRequestData, body, version)
        }
        ApiKey::ListPartitionReassignments => {
            round_trip!(g::ListPartitionReassignmentsRequestData, body, version)
        }
        ApiKey::AlterClientQuotas => {
            round_trip!(g::AlterClientQuotasRequestData, body, version)
        }
        ApiKey::DescribeClientQuotas => {
            round_trip!(g::DescribeClientQuotasRequestData, body, version)
        }
        ApiKey::DescribeUserScramCredentials => {
            round_trip!(g::DescribeUserScramCredentialsRequestData, body, version)
        }
        ApiKey::AlterUserScramCredentials => {
            round_trip!(g::AlterUserScramCredentialsRequestData, body, version)
        }
        ApiKey::SaslHandshake => round_trip!(g::SaslHandshakeRequestData, body, version),
        ApiKey::SaslAuthenticate => round_trip!(g::SaslAuthenticateRequestData, body, version),
        ApiKey::CreateDelegationToken => {
            round_trip!(g::CreateDelegationTokenRequestData, body, version)
        }
        ApiKey::RenewDelegationToken => {
            round_trip!(g::RenewDelegationTokenRequestData, body, version)
        }
        ApiKey::ExpireDelegationToken => {
            round_trip!(g::ExpireDelegationTokenRequestData, body, version)
        }
        ApiKey::DescribeDelegationToken => {
            round_trip!(g::DescribeDelegationTokenRequestData, body, version)
        }
        ApiKey::DescribeConfigs => round_trip!(g::DescribeConfigsRequestData, body, version),
        ApiKey::AlterConfigs => round_trip!(g::AlterConfigsRequestData, body, version),
        ApiKey::DescribeLogDirs => round_trip!(g::DescribeLogDirsRequestData, body, version),
        ApiKey::CreatePartitions => round_trip!(g::CreatePartitionsRequestData, body, version),
        ApiKey::DeleteGroups => round_trip!(g::DeleteGroupsRequestData, body, version),
        ApiKey::IncrementalAlterConfigs => {
            round_trip!(g::IncrementalAlterConfigsRequestData, body, version)
        }
        ApiKey::OffsetDelete => round_trip!(g::OffsetDeleteRequestData, body, version),
        ApiKey::DescribeCluster => round_trip!(g::DescribeClusterRequestData, body, version),
        ApiKey::ListConfigResources => {
            round_trip!(g::ListConfigResourcesRequestData, body, version)
        }
        ApiKey::DescribeTopicPartitions => {
            round_trip!(g::DescribeTopicPartitionsRequestData, body, version)
        }
        other => panic!("{other:?} is advertised and not fuzzed"),
    }
}
