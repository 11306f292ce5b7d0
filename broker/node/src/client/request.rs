//! The messages that this client sends, each with the type of its answer.

use bytes::BufMut;
use sedge_protocol::Bytes;
use sedge_protocol::kafka::ProtocolError;
use sedge_protocol::kafka::generated::{
    AddOffsetsToTxnRequestData, AddOffsetsToTxnResponseData, AddPartitionsToTxnRequestData,
    AddPartitionsToTxnResponseData, AlterConfigsRequestData, AlterConfigsResponseData, ApiKey,
    ApiVersionsRequestData, ApiVersionsResponseData, ConsumerGroupDescribeRequestData,
    ConsumerGroupDescribeResponseData, CreatePartitionsRequestData, CreatePartitionsResponseData,
    CreateTopicsRequestData, CreateTopicsResponseData, DeleteGroupsRequestData,
    DeleteGroupsResponseData, DeleteRecordsRequestData, DeleteRecordsResponseData,
    DeleteTopicsRequestData, DeleteTopicsResponseData, DescribeConfigsRequestData,
    DescribeConfigsResponseData, DescribeGroupsRequestData, DescribeGroupsResponseData,
    EndTxnRequestData, EndTxnResponseData, FetchRequestData, FetchResponseData,
    FindCoordinatorRequestData, FindCoordinatorResponseData, IncrementalAlterConfigsRequestData,
    IncrementalAlterConfigsResponseData, InitProducerIdRequestData, InitProducerIdResponseData,
    ListConfigResourcesRequestData, ListConfigResourcesResponseData, ListGroupsRequestData,
    ListGroupsResponseData, ListOffsetsRequestData, ListOffsetsResponseData, MetadataRequestData,
    MetadataResponseData, OffsetCommitRequestData, OffsetCommitResponseData,
    OffsetFetchRequestData, OffsetFetchResponseData, ProduceResponseData,
    SaslAuthenticateRequestData, SaslAuthenticateResponseData, SaslHandshakeRequestData,
    SaslHandshakeResponseData, TxnOffsetCommitRequestData, TxnOffsetCommitResponseData,
};
use sedge_protocol::kafka::version::{request_header_version, response_header_version};
use sedge_protocol::parts::Parts;
use sedge_protocol::produce::Produce;

use super::error::Error;

/// A request, and how its answer is decoded.
pub trait Request: Send + Sync {
    type Response: Send;
    const KEY: ApiKey;

    /// Returns the bytes that [`Request::write`] writes to the frame's buffer, or a few more.
    fn encoded_len(&self, version: i16) -> Result<usize, ProtocolError>;
    fn write(&self, frame: &mut Parts<Bytes>, version: i16) -> Result<(), ProtocolError>;
    fn read_response(buffer: &mut Bytes, version: i16) -> Result<Self::Response, ProtocolError>;
}

macro_rules! requests {
    ($($key:ident: $request:ty => $response:ty;)*) => { $(
        impl Request for $request {
            type Response = $response;
            const KEY: ApiKey = ApiKey::$key;

            fn encoded_len(&self, version: i16) -> Result<usize, ProtocolError> {
                <$request>::encoded_len(self, version)
            }

            fn write(&self, frame: &mut Parts<Bytes>, version: i16) -> Result<(), ProtocolError> {
                <$request>::write(self, &mut frame.buffer, version)
            }

            fn read_response(buffer: &mut Bytes, version: i16) -> Result<$response, ProtocolError> {
                <$response>::read(buffer, version)
            }
        }
    )* };
}

requests! {
    AddOffsetsToTxn: AddOffsetsToTxnRequestData => AddOffsetsToTxnResponseData;
    AddPartitionsToTxn: AddPartitionsToTxnRequestData => AddPartitionsToTxnResponseData;
    AlterConfigs: AlterConfigsRequestData => AlterConfigsResponseData;
    ApiVersions: ApiVersionsRequestData => ApiVersionsResponseData;
    ConsumerGroupDescribe: ConsumerGroupDescribeRequestData => ConsumerGroupDescribeResponseData;
    CreatePartitions: CreatePartitionsRequestData => CreatePartitionsResponseData;
    CreateTopics: CreateTopicsRequestData => CreateTopicsResponseData;
    DeleteGroups: DeleteGroupsRequestData => DeleteGroupsResponseData;
    DeleteRecords: DeleteRecordsRequestData => DeleteRecordsResponseData;
    DeleteTopics: DeleteTopicsRequestData => DeleteTopicsResponseData;
    DescribeConfigs: DescribeConfigsRequestData => DescribeConfigsResponseData;
    DescribeGroups: DescribeGroupsRequestData => DescribeGroupsResponseData;
    EndTxn: EndTxnRequestData => EndTxnResponseData;
    Fetch: FetchRequestData => FetchResponseData;
    FindCoordinator: FindCoordinatorRequestData => FindCoordinatorResponseData;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequestData => IncrementalAlterConfigsResponseData;
    InitProducerId: InitProducerIdRequestData => InitProducerIdResponseData;
    ListConfigResources: ListConfigResourcesRequestData => ListConfigResourcesResponseData;
    ListGroups: ListGroupsRequestData => ListGroupsResponseData;
    ListOffsets: ListOffsetsRequestData => ListOffsetsResponseData;
    Metadata: MetadataRequestData => MetadataResponseData;
    OffsetCommit: OffsetCommitRequestData => OffsetCommitResponseData;
    OffsetFetch: OffsetFetchRequestData => OffsetFetchResponseData;
    SaslAuthenticate: SaslAuthenticateRequestData => SaslAuthenticateResponseData;
    SaslHandshake: SaslHandshakeRequestData => SaslHandshakeResponseData;
    TxnOffsetCommit: TxnOffsetCommitRequestData => TxnOffsetCommitResponseData;
}

impl Request for Produce {
    type Response = ProduceResponseData;
    const KEY: ApiKey = ApiKey::Produce;

    fn encoded_len(&self, _version: i16) -> Result<usize, ProtocolError> {
        Ok(self.bytes_without_records())
    }

    fn write(&self, frame: &mut Parts<Bytes>, version: i16) -> Result<(), ProtocolError> {
        Self::write(self, frame, version)
    }

    fn read_response(buffer: &mut Bytes, version: i16) -> Result<Self::Response, ProtocolError> {
        ProduceResponseData::read(buffer, version)
    }
}

/// Encodes the whole frame: length, header, body. Its parts are sent one after the other.
pub fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Vec<Bytes>, Error> {
    let key = R::KEY as i16;
    let client_id = client_id
        .get(..client_id.len().min(i16::MAX as usize))
        .unwrap_or_default();
    let unwritable = |source| Error::Unwritable {
        api: R::KEY,
        source,
    };
    let header_bytes = 2 + 2 + 4 + 2 + client_id.len() + 1;
    let bytes = header_bytes + request.encoded_len(version).map_err(unwritable)?;
    let mut frame = Parts::with_capacity(bytes);
    frame.buffer.put_i16(key);
    frame.buffer.put_i16(version);
    frame.buffer.put_i32(correlation_id);
    frame.buffer.put_i16(client_id.len() as i16);
    frame.buffer.put_slice(client_id.as_bytes());
    if request_header_version(key, version) >= 2 {
        frame.buffer.put_u8(0);
    }
    request.write(&mut frame, version).map_err(unwritable)?;
    frame.finish().map_err(|_| Error::TooLarge {
        bytes: i32::MAX as usize,
        bytes_max: i32::MAX as usize,
    })
}

/// Decodes an answer's body; `frame` begins behind the correlation id.
pub fn decode<R: Request>(mut frame: Bytes, version: i16) -> Result<R::Response, Error> {
    let malformed = |source| Error::Malformed {
        api: R::KEY,
        source,
    };
    if response_header_version(R::KEY as i16, version) >= 1 {
        sedge_protocol::kafka::tagged::read_tagged_fields(&mut frame)
            .map_err(|source| malformed(source.into()))?;
    }
    R::read_response(&mut frame, version).map_err(malformed)
}
