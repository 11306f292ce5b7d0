//! The transaction coordinator as a shard of the journal: its topic, and its deadlines.

use sedge_protocol::ErrorCode;
use sedge_protocol::error::Error;
use sedge_protocol::transaction_records::TransactionRecord;

use super::{TransactionActions, TransactionCoordinator};
use crate::machine::Now;
use crate::metadata::Image;
use crate::shard::{Encoded, Shard, StateTopic};

impl Shard for TransactionCoordinator {
    type Record = TransactionRecord;
    type Body = ();

    const TOPIC: StateTopic = StateTopic {
        name: "__transaction_state",
        partitions_key: "transaction.state.log.num.partitions",
    };

    fn partition_key(record: &TransactionRecord) -> &str {
        &record.transactional_id
    }

    fn bytes_of(record: &TransactionRecord) -> usize {
        const NUMBERS_BYTES: usize = 96;
        let partitions = record.value.iter().flat_map(|value| &value.partitions);
        let partitions = partitions.map(|(topic, indexes)| topic.len() + 8 + indexes.len() * 4);
        NUMBERS_BYTES + record.transactional_id.len() + partitions.sum::<usize>()
    }

    fn encode(record: &TransactionRecord) -> Result<Encoded, Error> {
        record.encode()
    }

    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<TransactionRecord, Error> {
        TransactionRecord::decode(key, value)
    }

    fn restore(&mut self, now: Now, record: &TransactionRecord) {
        self.apply(now, record);
    }

    fn finish_restore(&mut self, _: Now, _: &Image) -> TransactionActions {
        TransactionActions::default()
    }

    fn apply(&mut self, now: Now, record: &TransactionRecord) {
        self.apply(now, record);
    }

    fn handle_save_failed(&mut self, now: Now, records: &[TransactionRecord]) {
        for record in records {
            self.handle_save_failed(now, record);
        }
    }

    fn handle_image(&mut self, _: Now, _: Option<&Image>, _: &Image) -> TransactionActions {
        TransactionActions::default()
    }

    fn next_deadline(&self) -> u64 {
        self.next_expiry
            .min(self.next_overdue().unwrap_or(u64::MAX))
    }

    /// Expires ids. The caller ends overdue transactions ([`TransactionCoordinator::end_overdue`]),
    /// whose markers are no records of this shard.
    fn tick(&mut self, now: Now, _: &Image) -> TransactionActions {
        self.expire(now)
    }

    fn refuse((): (), _: ErrorCode) {}
}
