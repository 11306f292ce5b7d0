//! The envelope of requests and responses: headers, the length in front, and other protocols that
//! are spoken to a Kafka port by mistake.
//!
//! Requests are decoded from the bytes behind the length. The connection reads the length itself
//! and refuses one that is too large.

use bytes::{BufMut, Bytes, BytesMut};

use crate::api::{is_flexible, supported};
use crate::error::{Error, Result};
use crate::kafka::generated::ApiKey;
use crate::kafka::{self, KafkaString};
use crate::limits::{
    ARRAY_ELEMENTS_MAX, CONTROL_REQUEST_BYTES_MAX, PRODUCE_ENTRIES_MAX, TAGGED_FIELDS_MAX,
};
use crate::wire::Reader;

/// The header in front of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<KafkaString>,
}

impl RequestHeader {
    /// Takes the header off the front of `frame`, which then begins with the message.
    ///
    /// Decodes headers of unsupported requests as well, as far as an answer to them needs it: the
    /// tagged fields of an unknown version are left in `frame`.
    ///
    /// # Errors
    /// A truncated header, a client id that is not UTF-8, or too many tagged fields. The caller
    /// must close the connection.
    pub fn decode(frame: &mut Bytes) -> Result<Self> {
        let mut reader = Reader::new(frame);
        let api_key = reader.i16("the request header")?;
        let api_version = reader.i16("the request header")?;
        let correlation_id = reader.i32("the request header")?;
        // KIP-482: the client id keeps its two-byte length in flexible headers, so that any header
        // can be read.
        let client_id = reader.nullable_string("the client id")?;
        let client_id = client_id.map(|text| {
            KafkaString::new(frame.slice_ref(text.as_bytes())).expect("checked to be UTF-8 above")
        });
        let answered = supported(api_key).is_some_and(|api| api.answers(api_version));
        if answered && is_flexible(api_key, api_version) {
            reader.skip_tagged_fields()?;
        }
        let header_bytes = frame.len() - reader.len();
        let _header = frame.split_to(header_bytes);
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }
}

/// Returns the largest frame, in bytes, that a request of this kind may have. `socket_bytes_max` is
/// the largest frame of any kind.
#[must_use]
pub fn request_bytes_max(api_key: i16, socket_bytes_max: usize) -> usize {
    if api_key == ApiKey::Produce as i16 {
        socket_bytes_max
    } else {
        socket_bytes_max.min(CONTROL_REQUEST_BYTES_MAX)
    }
}

/// Walks a Produce request without decoding it, so that the counts that it claims cannot make the
/// decoder allocate. Topics and partitions are counted, and the bytes of each must be present.
///
/// # Errors
/// A truncated request, or one that exceeds the limits.
pub fn check_produce(body: &[u8], version: i16) -> Result<()> {
    let flexible = is_flexible(ApiKey::Produce as i16, version);
    let mut reader = Reader::new(body);
    let reader = &mut reader;
    let mut entries = 0_usize;
    if flexible {
        reader.compact_nullable_string("the transactional id")?;
    } else {
        reader.nullable_string("the transactional id")?;
    }
    reader.take(2 + 4, "acks and timeout")?;
    let topics = count(reader, flexible, "topics")?;
    for _ in 0..topics {
        match (version >= 13, flexible) {
            (true, _) => _ = reader.take(16, "a topic id")?,
            (false, true) => _ = reader.compact_string("a topic name")?,
            (false, false) => _ = reader.string("a topic name")?,
        }
        let partitions = count(reader, flexible, "partitions")?;
        entries = entries.saturating_add(1).saturating_add(partitions);
        if entries > PRODUCE_ENTRIES_MAX {
            return Err(Error::TooMany {
                what: "topics and partitions",
                limit: PRODUCE_ENTRIES_MAX,
            });
        }
        for _ in 0..partitions {
            reader.take(4, "a partition")?;
            if flexible {
                reader.compact_nullable_bytes("records")?;
                reader.skip_tagged_fields()?;
            } else {
                reader.nullable_bytes("records")?;
            }
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
    }
    if flexible {
        reader.skip_tagged_fields()
    } else {
        Ok(())
    }
}

fn count(reader: &mut Reader<'_>, flexible: bool, what: &'static str) -> Result<usize> {
    if flexible {
        reader.compact_count(what, ARRAY_ELEMENTS_MAX)
    } else {
        reader.count(what, ARRAY_ELEMENTS_MAX)
    }
}

/// Appends the header of a response: the correlation id and, if the version is flexible, an empty
/// section of tagged fields.
pub fn put_response_header(buffer: &mut BytesMut, key: ApiKey, version: i16, correlation_id: i32) {
    buffer.put_i32(correlation_id);
    // KIP-511: a client reads the answer to ApiVersions before it knows which versions the broker
    // speaks, so the header of this answer stays v0.
    if key != ApiKey::ApiVersions && is_flexible(key as i16, version) {
        buffer.put_u8(0);
    }
}

/// Encodes a whole response frame: length, header, and the message that `write` appends.
///
/// # Errors
/// An error of `write`, or a response above 2 GiB.
pub fn encode_response(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    write: impl FnOnce(&mut BytesMut) -> kafka::Result<()>,
) -> Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(256);
    buffer.put_i32(0);
    put_response_header(&mut buffer, key, version, correlation_id);
    write(&mut buffer)?;
    let length = frame_length(buffer.len())?;
    buffer[..4].copy_from_slice(&length.to_be_bytes());
    Ok(buffer.freeze())
}

/// Returns the value of the four bytes in front of a frame that has `whole` bytes including them.
pub(crate) fn frame_length(whole: usize) -> Result<i32> {
    i32::try_from(whole - 4).map_err(|_| Error::TooMany {
        what: "bytes of a frame",
        limit: i32::MAX as usize,
    })
}

/// Another protocol, spoken to a Kafka port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherProtocol {
    /// A TLS ClientHello. Read as Kafka's, its first bytes announce a frame of some 369 MB.
    Tls,
    /// A request line of HTTP.
    Http,
}

/// Returns the protocol to which the first bytes of a connection (four or more) belong, if it is
/// one that users point at a Kafka port by mistake.
#[must_use]
pub fn other_protocol(first: &[u8]) -> Option<OtherProtocol> {
    const METHODS: [&[u8; 4]; 8] = [
        b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"DELE", b"PRI ",
    ];
    if looks_like_tls_hello(first) {
        return Some(OtherProtocol::Tls);
    }
    let method = first.first_chunk::<4>()?;
    METHODS.contains(&method).then_some(OtherProtocol::Http)
}

/// RFC 8446 §5.1: a handshake record (22) of version 3.x.
#[must_use]
pub fn looks_like_tls_hello(first: &[u8]) -> bool {
    matches!(first, [0x16, 0x03, 0..=4, ..])
}

const _: () = assert!(TAGGED_FIELDS_MAX < ARRAY_ELEMENTS_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::generated::produce_request::{
        PartitionProduceData, ProduceRequestData, TopicProduceData,
    };
    use crate::wire::Write as _;

    fn header(api_key: i16, version: i16, tail: &[u8]) -> Bytes {
        let mut bytes = Vec::new();
        bytes.put_i16(api_key);
        bytes.put_i16(version);
        bytes.put_i32(7);
        bytes.put_string("me").unwrap();
        bytes.put_slice(tail);
        bytes.into()
    }

    #[test]
    fn the_header_leaves_the_message() {
        let table: &[(i16, i16, &[u8], &[u8])] = &[
            (3, 8, b"body", b"body"),
            (3, 9, b"\x00body", b"body"),
            (3, 9, b"\x01\x05\x02xxbody", b"body"),
            (18, 99, b"anything", b"anything"),
            (1000, 0, b"anything", b"anything"),
        ];
        for (key, version, tail, left) in table {
            let mut frame = header(*key, *version, tail);
            let decoded = RequestHeader::decode(&mut frame).unwrap();
            assert_eq!(decoded.correlation_id, 7);
            assert_eq!(decoded.client_id.unwrap().as_str(), "me");
            assert_eq!(&frame[..], *left, "{key} v{version}");
        }
    }

    #[test]
    fn every_cut_of_a_header_is_refused() {
        let whole = header(3, 9, b"\x01\x05\x02xx");
        for end in 0..whole.len() {
            assert!(
                RequestHeader::decode(&mut whole.slice(..end)).is_err(),
                "{end}"
            );
        }
        assert!(RequestHeader::decode(&mut whole.clone()).is_ok());
    }

    #[test]
    fn only_api_versions_keeps_the_old_response_header() {
        for (key, version, bytes) in [
            (ApiKey::ApiVersions, 4, 4),
            (ApiKey::Metadata, 8, 4),
            (ApiKey::Metadata, 9, 5),
        ] {
            let mut buffer = BytesMut::new();
            put_response_header(&mut buffer, key, version, 1);
            assert_eq!(buffer.len(), bytes, "{key:?} v{version}");
        }
    }

    #[test]
    fn other_protocols_are_told_by_their_first_bytes() {
        let check = other_protocol;
        assert_eq!(check(&[0x16, 3, 1, 2, 0, 1]), Some(OtherProtocol::Tls));
        assert_eq!(check(b"GET / HTTP/1.1"), Some(OtherProtocol::Http));
        assert_eq!(check(&[0, 0, 0, 40, 0, 18]), None);
        assert_eq!(check(b"GE"), None);
    }

    #[test]
    fn a_produce_request_is_walked_as_it_is_encoded() {
        let partition = PartitionProduceData::default()
            .with_index(3)
            .with_records(Some(Bytes::from_static(b"records")));
        for version in 3..=13 {
            let topic = TopicProduceData::default().with_partition_data(vec![partition.clone(); 3]);
            let topic = if version < 13 {
                topic.with_name("t".to_owned().into())
            } else {
                topic
            };
            let request = ProduceRequestData::default()
                .with_acks(-1)
                .with_topic_data(vec![topic; 2]);
            let mut body = BytesMut::new();
            request.write(&mut body, version).unwrap();
            check_produce(&body, version).unwrap();
            for end in 0..body.len() {
                assert!(
                    check_produce(&body[..end], version).is_err(),
                    "v{version} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn a_forged_count_of_partitions_is_refused() {
        let mut body = Vec::new();
        body.put_compact_nullable_string(None);
        body.put_slice(&[0; 6]);
        body.put_compact_count(1);
        body.put_compact_string("t");
        body.put_compact_count(PRODUCE_ENTRIES_MAX + 1);
        assert!(matches!(
            check_produce(&body, 9),
            Err(Error::TooMany { .. })
        ));
    }
}
