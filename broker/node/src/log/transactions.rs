//! The transactions of a partition, as readers see them: the view of aborted ones (KIP-98).

use sedge_core::log::derive::{aborted_key, prefix};
use sedge_core::log::transactions::{AbortedTransaction, among};
use sedge_protocol::ids::Offset;
use sedge_storage::{Error, LogStore, View, ViewUpdate};

use super::partitions::Partition;
use super::views::unreadable;

/// Returns the aborted transactions that have records from `from` to `until`.
///
/// # Errors
/// The store cannot read the view or an entry of it.
pub fn aborted_among(
    store: &dyn LogStore,
    partition: &Partition,
    from: Offset,
    until: Offset,
) -> Result<Vec<AbortedTransaction>, Error> {
    if !partition.may_have_aborted(from) {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    let mut each = |key: &[u8], value: &[u8]| {
        let entry = AbortedTransaction::decode(key, value);
        entries.push(entry.ok_or(()));
        entry.is_some_and(|entry| entry.last_stable < until)
    };
    let (id, first) = (partition.id, aborted_key(partition.id, from));
    store.view_scan_from(View::Aborted, &prefix(id), &first, &mut each)?;
    among(from, until, entries).map_err(|()| unreadable(store, View::Aborted, id))
}

/// Returns the removal of the aborted transactions that end before `offset`.
///
/// # Errors
/// The store cannot read the view.
pub fn aborted_before(
    store: &dyn LogStore,
    partition: &Partition,
    offset: Offset,
) -> Result<Vec<ViewUpdate>, Error> {
    let mut removals = Vec::new();
    if !partition.may_have_aborted(Offset::ZERO) {
        return Ok(removals);
    }
    let end = aborted_key(partition.id, offset);
    let prefix = prefix(partition.id);
    let mut each = |key: &[u8], _: &[u8]| {
        let is_before = key < &*end;
        if is_before {
            removals.push(ViewUpdate {
                view: View::Aborted,
                key: key.to_vec(),
                value: None,
            });
        }
        is_before && removals.len() < ABORTED_FORGOTTEN_AT_ONCE
    };
    store.view_scan_from(View::Aborted, &prefix, &prefix, &mut each)?;
    Ok(removals)
}

/// Entries that one move of a log start removes; the next move removes more. Bounds a commit.
const ABORTED_FORGOTTEN_AT_ONCE: usize = 1_000;
