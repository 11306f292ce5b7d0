//! Transactional ids, and their transactions.

use sedge_core::groups::Planned;
use sedge_core::security::{Operation, Resource};
use sedge_core::transactions::{
    EndRequest, Ended, Ending, InitRequest, Listing, ProducerOf, Selection,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::TransactionResult;

use super::access::Access;
use super::groups::{Group, Written};
use super::{Request, Topic};

/// The internal topic whose partition AddOffsetsToTxn adds to a transaction.
const OFFSETS_TOPIC: &str = crate::coordinator::OFFSETS_TOPIC;

impl Request {
    /// Returns the transactional id, whether or not it exists, for one operation.
    ///
    /// # Errors
    /// TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
    pub fn transactional_id<'a>(
        &'a self,
        operation: Operation,
        id: &'a str,
    ) -> Result<TransactionalId<'a>, ErrorCode> {
        self.access
            .check(operation, Resource::TransactionalId, id)?;
        Ok(TransactionalId {
            access: &self.access,
            id,
        })
    }

    /// Lists the selected transactional ids that the client may describe.
    pub fn list_transactions(&self, selection: &Selection) -> Vec<Listing> {
        let now = self.now();
        let transactions = &self.access.broker.transactions;
        let mut listed = transactions.with(|machine| machine.list(now, selection));
        listed.retain(|listing| {
            let id = &listing.transactional_id;
            let resource = Resource::TransactionalId;
            self.access.allows(Operation::Describe, resource, id)
        });
        listed
    }
}

/// A transactional id, for an operation that the client is allowed to perform.
#[derive(Clone, Copy)]
pub struct TransactionalId<'a> {
    access: &'a Access,
    id: &'a str,
}

/// A producer id and its epoch, as a request names them.
pub type Producer = (i64, i16);

impl TransactionalId<'_> {
    /// Returns the id as it is.
    pub fn describe(&self) -> Option<Listing> {
        let transactions = &self.access.broker.transactions;
        transactions.with(|machine| machine.describe(self.id))
    }

    /// Gives the id a producer, and waits until that is durable.
    ///
    /// # Errors
    /// Those of the coordinator.
    pub async fn init(
        &self,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
        let broker = &self.access.broker;
        let request = InitRequest {
            transactional_id: self.id,
            timeout_ms,
            expected: expected.map(|(id, epoch)| (ProducerId(id), ProducerEpoch(epoch))),
            fresh: broker.producer_ids.next(&broker.writer).await?,
        };
        let now = broker.log.clock.now();
        let (reply, written) = broker.transactions.end(
            |machine| machine.handle_init(now, request),
            |reply| reply.as_ref().ok().and_then(|(_, ending)| ending.clone()),
        );
        let (producer, _) = reply?;
        Written::new(written).wait().await?;
        Ok(producer)
    }

    /// Ends the producer's transaction, and waits until that is durable. Returns the producer of
    /// the next one.
    ///
    /// # Errors
    /// Those of the coordinator.
    pub async fn end(
        &self,
        producer: Producer,
        result: TransactionResult,
        bumps_epoch: bool,
    ) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
        let broker = &self.access.broker;
        let request = EndRequest {
            producer: self.producer(producer),
            result,
            bumps_epoch,
            fresh: broker.producer_ids.next(&broker.writer).await?,
        };
        let now = broker.log.clock.now();
        let ending = |reply: &Result<Ended, ErrorCode>| -> Option<Ending> {
            reply.as_ref().ok().and_then(|ended| ended.ending.clone())
        };
        let (reply, written) = broker
            .transactions
            .end(|machine| machine.handle_end(now, request), ending);
        let ended = reply?;
        Written::new(written).wait().await?;
        Ok(ended.producer)
    }

    /// Adds partitions to the producer's transaction, and waits until that is durable.
    ///
    /// # Errors
    /// Those of the coordinator.
    pub async fn add(
        &self,
        producer: Producer,
        partitions: &[(&str, i32)],
        client_version: i16,
    ) -> Result<(), ErrorCode> {
        let broker = &self.access.broker;
        let now = broker.log.clock.now();
        let producer = self.producer(producer);
        let (reply, written) = broker
            .transactions
            .plan(|machine| machine.handle_add(now, producer, partitions, client_version));
        reply?;
        Written::new(written).wait().await
    }

    /// Adds a group's offsets to the producer's transaction, and waits until that is durable.
    ///
    /// # Errors
    /// Those of the coordinator.
    pub async fn add_offsets(
        &self,
        producer: Producer,
        _: &Group<'_>,
        client_version: i16,
    ) -> Result<(), ErrorCode> {
        // There is no partition whose marker would end it, so one stands for all.
        let partitions = [(OFFSETS_TOPIC, 0)];
        self.add(producer, &partitions, client_version).await
    }

    /// Checks that the producer's transaction includes the partition.
    ///
    /// # Errors
    /// Those of the coordinator.
    pub fn verify(
        &self,
        producer: Producer,
        topic: &Topic<'_>,
        index: i32,
    ) -> Result<(), ErrorCode> {
        let producer = self.producer(producer);
        let transactions = &self.access.broker.transactions;
        transactions.with(|machine| machine.verify(producer, &topic.name, index))
    }

    /// Takes a step of the groups' coordinator that is part of the producer's transaction.
    ///
    /// # Errors
    /// Those of the coordinator, if the transaction does not include offsets.
    pub fn plan_offsets<R>(
        &self,
        producer: Producer,
        _: &Group<'_>,
        step: impl FnOnce(&mut sedge_core::groups::Coordinator) -> Planned<R>,
    ) -> Result<(R, Written), ErrorCode> {
        let producer = self.producer(producer);
        let (reply, written) = self.access.broker.transactions.checked(
            |machine| machine.verify(producer, OFFSETS_TOPIC, 0),
            |groups| groups.plan(step),
        )?;
        Ok((reply, Written::new(written)))
    }

    fn producer(&self, (id, epoch): Producer) -> ProducerOf<'_> {
        ProducerOf {
            transactional_id: self.id,
            producer_id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
        }
    }
}
