//! Batches of transactions in a produce: which may join their producer's transaction (KIP-890).

use sedge_core::log::{AppendError, InTransaction};
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::ProducerId;

use crate::handlers::request::{Producer, Request, Topic};
use crate::handlers::transactions::CLIENT_VERSION_2;

/// KIP-890: from this version on, a produce adds its partitions to the transaction.
const FIRST_VERSION_THAT_ADDS: i16 = 12;

/// Checks that a batch may join its producer's transaction, or adds its partition. Returns `None`
/// for a batch that is not part of a transaction.
///
/// # Errors
/// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, INVALID_TXN_STATE, INVALID_PRODUCER_EPOCH and others of
/// the coordinator; POLICY_VIOLATION if the topic sends records elsewhere.
pub async fn join(
    request: &Request,
    transactional_id: Option<&str>,
    (topic, index): (Topic<'_>, i32),
    header: &BatchHeader,
) -> Result<Option<InTransaction>, AppendError> {
    if !header.is_transactional() {
        return Ok(None);
    }
    let config = &topic.config;
    if config.partitioner().is_some() || !config.filter_routes().is_empty() {
        let why = "A batch of a transaction cannot be written to a topic with sedge.partitioner or \
                   sedge.filter.routes: records that go elsewhere would not be part of the \
                   transaction. Produce without a transaction, or remove the key.";
        return Err(AppendError::new(ErrorCode::PolicyViolation, why));
    }
    let unnamed = ErrorCode::TransactionalIdAuthorizationFailed;
    let id = request.transactional_id(Operation::Write, transactional_id.ok_or(unnamed)?)?;
    let producer: Producer = (
        header.producer_id().map_or(-1, ProducerId::get),
        header.producer_epoch().get(),
    );
    let verified_at = topic.published(index, None)?.high_watermark();
    let mut verified = id.verify(producer, &topic, index);
    let adds = request.version() >= FIRST_VERSION_THAT_ADDS;
    if verified == Err(ErrorCode::InvalidTxnState) && adds {
        let partition = [(topic.name.as_str(), index)];
        verified = id.add(producer, &partition, CLIENT_VERSION_2).await;
    }
    match verified {
        Ok(()) => Ok(Some(InTransaction { verified_at })),
        Err(ErrorCode::ProducerFenced) => Err(ErrorCode::InvalidProducerEpoch.into()),
        // The codes that clients of older versions retry.
        Err(ErrorCode::ConcurrentTransactions | ErrorCode::NotCoordinator) if !adds => {
            Err(ErrorCode::NotEnoughReplicas.into())
        }
        Err(error) => Err(error.into()),
    }
}
