//! Requests about groups that do not exist, and with names that none can have.

use sedge_protocol::kafka::generated as messages;

use messages::find_coordinator_request as find;

use crate::case::{Case, case, text};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [0, 1, 9] {
        let named = format!("find coordinator of type {kind} without a key");
        case!(cases, &named, FindCoordinator 4..=6, |_| {
            find::FindCoordinatorRequestData::default().with_key_type(kind)
        } => messages::find_coordinator_response::FindCoordinatorResponseData);
    }
    case!(cases, "find coordinator of an unknown type", FindCoordinator 4..=6, |_| {
        find::FindCoordinatorRequestData::default()
            .with_key_type(9)
            .with_coordinator_keys(vec![text("g")])
    } => messages::find_coordinator_response::FindCoordinatorResponseData);
    case!(cases, "heartbeat of the group \"\"", Heartbeat 0..=4, |_| {
        messages::heartbeat_request::HeartbeatRequestData::default()
            .with_member_id(text("nobody"))
    } => messages::heartbeat_response::HeartbeatResponseData);
    case!(cases, "sync of the group \"\"", SyncGroup 0..=4, |_| {
        messages::sync_group_request::SyncGroupRequestData::default()
            .with_member_id(text("nobody"))
    } => messages::sync_group_response::SyncGroupResponseData);
    case!(cases, "list transactions", ListTransactions 0..=2, |_| {
        messages::list_transactions_request::ListTransactionsRequestData::default()
    } => messages::list_transactions_response::ListTransactionsResponseData);
    cases
}
