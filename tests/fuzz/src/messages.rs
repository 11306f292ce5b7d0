//! Every advertised API with the types of its request and its response.

use sedge_protocol::{
    ApiKey,
    api::{APIS, Api},
    frame::check_produce,
    kafka::generated as g,
};

use crate::{bounded, round_trip};

macro_rules! apis {
    ($($key:ident: $request:ident, $response:ident;)*) => {
        /// Decodes and encodes a request. Produce is first checked as the broker checks it.
        pub fn request(api: &Api, body: &[u8], version: i16) {
            if api.key == ApiKey::Produce && check_produce(body, version).is_err() {
                return;
            }
            match api.key {
                $(ApiKey::$key => round_trip!(g::$request, body, version),)*
                other => panic!("{other:?} is advertised and not fuzzed"),
            }
        }

        /// Decodes and encodes a response.
        pub fn response(api: &Api, body: &[u8], version: i16) {
            match api.key {
                $(ApiKey::$key => round_trip!(g::$response, body, version),)*
                other => panic!("{other:?} is advertised and not fuzzed"),
            }
        }
    };
}

apis! {
    Produce: ProduceRequestData, ProduceResponseData;
    Fetch: FetchRequestData, FetchResponseData;
    ListOffsets: ListOffsetsRequestData, ListOffsetsResponseData;
    Metadata: MetadataRequestData, MetadataResponseData;
    OffsetCommit: OffsetCommitRequestData, OffsetCommitResponseData;
    OffsetFetch: OffsetFetchRequestData, OffsetFetchResponseData;
    FindCoordinator: FindCoordinatorRequestData, FindCoordinatorResponseData;
    JoinGroup: JoinGroupRequestData, JoinGroupResponseData;
    Heartbeat: HeartbeatRequestData, HeartbeatResponseData;
    LeaveGroup: LeaveGroupRequestData, LeaveGroupResponseData;
    SyncGroup: SyncGroupRequestData, SyncGroupResponseData;
    DescribeGroups: DescribeGroupsRequestData, DescribeGroupsResponseData;
    ListGroups: ListGroupsRequestData, ListGroupsResponseData;
    SaslHandshake: SaslHandshakeRequestData, SaslHandshakeResponseData;
    ApiVersions: ApiVersionsRequestData, ApiVersionsResponseData;
    CreateTopics: CreateTopicsRequestData, CreateTopicsResponseData;
    DeleteTopics: DeleteTopicsRequestData, DeleteTopicsResponseData;
    DeleteRecords: DeleteRecordsRequestData, DeleteRecordsResponseData;
    InitProducerId: InitProducerIdRequestData, InitProducerIdResponseData;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequestData, OffsetForLeaderEpochResponseData;
    AddPartitionsToTxn: AddPartitionsToTxnRequestData, AddPartitionsToTxnResponseData;
    AddOffsetsToTxn: AddOffsetsToTxnRequestData, AddOffsetsToTxnResponseData;
    EndTxn: EndTxnRequestData, EndTxnResponseData;
    WriteTxnMarkers: WriteTxnMarkersRequestData, WriteTxnMarkersResponseData;
    TxnOffsetCommit: TxnOffsetCommitRequestData, TxnOffsetCommitResponseData;
    DescribeAcls: DescribeAclsRequestData, DescribeAclsResponseData;
    CreateAcls: CreateAclsRequestData, CreateAclsResponseData;
    DeleteAcls: DeleteAclsRequestData, DeleteAclsResponseData;
    DescribeConfigs: DescribeConfigsRequestData, DescribeConfigsResponseData;
    AlterConfigs: AlterConfigsRequestData, AlterConfigsResponseData;
    AlterReplicaLogDirs: AlterReplicaLogDirsRequestData, AlterReplicaLogDirsResponseData;
    DescribeLogDirs: DescribeLogDirsRequestData, DescribeLogDirsResponseData;
    SaslAuthenticate: SaslAuthenticateRequestData, SaslAuthenticateResponseData;
    CreatePartitions: CreatePartitionsRequestData, CreatePartitionsResponseData;
    CreateDelegationToken: CreateDelegationTokenRequestData, CreateDelegationTokenResponseData;
    RenewDelegationToken: RenewDelegationTokenRequestData, RenewDelegationTokenResponseData;
    ExpireDelegationToken: ExpireDelegationTokenRequestData, ExpireDelegationTokenResponseData;
    DescribeDelegationToken: DescribeDelegationTokenRequestData, DescribeDelegationTokenResponseData;
    DeleteGroups: DeleteGroupsRequestData, DeleteGroupsResponseData;
    ElectLeaders: ElectLeadersRequestData, ElectLeadersResponseData;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequestData, IncrementalAlterConfigsResponseData;
    AlterPartitionReassignments: AlterPartitionReassignmentsRequestData, AlterPartitionReassignmentsResponseData;
    ListPartitionReassignments: ListPartitionReassignmentsRequestData, ListPartitionReassignmentsResponseData;
    OffsetDelete: OffsetDeleteRequestData, OffsetDeleteResponseData;
    DescribeClientQuotas: DescribeClientQuotasRequestData, DescribeClientQuotasResponseData;
    AlterClientQuotas: AlterClientQuotasRequestData, AlterClientQuotasResponseData;
    DescribeUserScramCredentials: DescribeUserScramCredentialsRequestData, DescribeUserScramCredentialsResponseData;
    AlterUserScramCredentials: AlterUserScramCredentialsRequestData, AlterUserScramCredentialsResponseData;
    DescribeQuorum: DescribeQuorumRequestData, DescribeQuorumResponseData;
    UpdateFeatures: UpdateFeaturesRequestData, UpdateFeaturesResponseData;
    DescribeCluster: DescribeClusterRequestData, DescribeClusterResponseData;
    DescribeProducers: DescribeProducersRequestData, DescribeProducersResponseData;
    UnregisterBroker: UnregisterBrokerRequestData, UnregisterBrokerResponseData;
    DescribeTransactions: DescribeTransactionsRequestData, DescribeTransactionsResponseData;
    ListTransactions: ListTransactionsRequestData, ListTransactionsResponseData;
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequestData, ConsumerGroupHeartbeatResponseData;
    ConsumerGroupDescribe: ConsumerGroupDescribeRequestData, ConsumerGroupDescribeResponseData;
    GetTelemetrySubscriptions: GetTelemetrySubscriptionsRequestData, GetTelemetrySubscriptionsResponseData;
    PushTelemetry: PushTelemetryRequestData, PushTelemetryResponseData;
    ListConfigResources: ListConfigResourcesRequestData, ListConfigResourcesResponseData;
    DescribeTopicPartitions: DescribeTopicPartitionsRequestData, DescribeTopicPartitionsResponseData;
    AddRaftVoter: AddRaftVoterRequestData, AddRaftVoterResponseData;
    RemoveRaftVoter: RemoveRaftVoterRequestData, RemoveRaftVoterResponseData;
}

/// Chooses an API by the first byte of the input and a version by the second one, and passes them
/// to `decode` with the rest.
pub fn choose(input: &[u8], decode: fn(&Api, &[u8], i16)) {
    let [api, version, body @ ..] = input else {
        return;
    };
    let api = &APIS[usize::from(*api) % APIS.len()];
    let versions: Vec<i16> = (api.min..=api.max)
        .filter(|version| api.answers(*version))
        .collect();
    let version = versions[usize::from(*version) % versions.len()];
    bounded(body, 3, |body| decode(api, body, version));
}
