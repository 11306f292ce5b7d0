//! Judges an upstream's answer to one batch, and names what keeps a partition from making progress.

use alloc::format;
use core::fmt::{self, Write as _};

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;

use super::stamp::StampError;

/// The outcome of sending one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has the batch. `None` if the upstream does not report an offset.
    Acknowledged(Option<Offset>),
    /// The upstream answered with an error.
    Refused(ErrorCode),
    /// There was no answer: the upstream may or may not have the batch.
    Lost,
}

/// The decision after an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Acknowledged,
    /// The acknowledgement cannot be true: send again under a new producer id.
    Disbelieved,
    /// Send again with the same sequences.
    Retry,
    /// Send again under a new producer id.
    NewProducer,
    /// Hold the partition: retries do not help before something is changed, here or upstream.
    Hold,
}

/// The side of the link that a topic is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Here,
    Upstream,
}

/// The reason why a partition makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The upstream answers with an error.
    Refused(ErrorCode),
    /// The upstream refuses a joined batch. Its records are sent again as they are stored.
    RefusedJoined(ErrorCode),
    /// The upstream acknowledges a batch that it cannot have.
    Disbelieved,
    /// The upstream does not answer.
    NoAnswer,
    /// The local log cannot be read.
    Unread,
    /// A filter of the link fails.
    Unfiltered,
    /// A batch cannot be sent.
    Unfit(StampError),
    /// The topic was created again on that side, and the link is configured to wait for a decision.
    CreatedAgain(Side),
}

impl Trouble {
    /// Returns whether retries do not help before something is changed.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        match self {
            Self::Refused(code) => matches!(judge(code), Verdict::Hold),
            Self::Unfit(_) | Self::CreatedAgain(_) => true,
            Self::RefusedJoined(_)
            | Self::Disbelieved
            | Self::NoAnswer
            | Self::Unread
            | Self::Unfiltered => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => {
                write!(f, "the upstream refuses a batch with {}", Name(*code))
            }
            Self::RefusedJoined(code) => {
                write!(
                    f,
                    "the upstream refuses a joined batch with {}",
                    Name(*code)
                )
            }
            Self::Disbelieved => f.write_str(
                "the upstream acknowledges batches at offsets that it has already given to others",
            ),
            Self::NoAnswer => f.write_str("the upstream does not answer when a batch is sent"),
            Self::Unread => f.write_str("the log here cannot be read"),
            Self::Unfiltered => f.write_str("a filter of the link is not ready, or fails"),
            Self::Unfit(error) => error.fmt(f),
            Self::CreatedAgain(Side::Here) => {
                f.write_str("the topic here was deleted and created again")
            }
            Self::CreatedAgain(Side::Upstream) => {
                f.write_str("the topic upstream was deleted, or deleted and created again")
            }
        }
    }
}

/// An error under Kafka's name for it, such as `NOT_ENOUGH_REPLICAS`.
struct Name(ErrorCode);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = format!("{:?}", self.0);
        for (at, letter) in words.char_indices() {
            if at > 0 && letter.is_ascii_uppercase() {
                f.write_char('_')?;
            }
            f.write_char(letter.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

/// Returns whether a smaller batch may be accepted.
pub(super) const fn is_about_size(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge
    )
}

/// Judges an error by the table of the module's documentation. An error that the table does not
/// name is retried, so that no record is dropped.
#[must_use]
pub const fn judge(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::ProducerFenced => Verdict::NewProducer,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidRecord
        | ErrorCode::InvalidTimestamp
        | ErrorCode::InvalidTopicException
        | ErrorCode::InvalidRequest
        | ErrorCode::InvalidRequiredAcks
        | ErrorCode::PolicyViolation
        | ErrorCode::UnsupportedCompressionType
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::UnsupportedVersion
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed => Verdict::Hold,
        _ => Verdict::Retry,
    }
}
