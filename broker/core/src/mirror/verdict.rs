//! What an upstream's answer to one batch means.

use sedge_protocol::ErrorCode;

/// How the sending of one batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered; code 0 is an acknowledgement.
    Answered(ErrorCode),
    /// No answer: it may or may not be there.
    Lost,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Acknowledged,
    /// Send again, same sequences.
    Retry,
    /// Send again under a new producer id.
    NewProducer,
    /// Nothing helps but that somebody changes something.
    Hold,
}

/// The table of the module's documentation. Codes that nobody has thought of are tried again:
/// nothing is dropped.
#[must_use]
pub const fn judge(outcome: Outcome) -> Verdict {
    let Outcome::Answered(code) = outcome else {
        return Verdict::Retry;
    };
    match code {
        ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Verdict::Acknowledged,
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
