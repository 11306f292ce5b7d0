//! ListTransactions (key 66): lists transactional ids (KIP-664, KIP-994, KIP-1152).

use regex_lite::Regex;
use sedge_core::transactions::Selection;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::list_transactions_request::ListTransactionsRequestData;
use sedge_protocol::kafka::generated::list_transactions_response::{
    ListTransactionsResponseData, TransactionState,
};
use sedge_protocol::transaction_records::TransactionStatus;

use crate::handlers::Request;

const FIRST_VERSION_WITH_DURATION: i16 = 1;

pub async fn handle(
    request: &Request,
    message: ListTransactionsRequestData,
) -> ListTransactionsResponseData {
    let response = ListTransactionsResponseData::default();
    let pattern = message.transactional_id_pattern.as_ref();
    let pattern = pattern.filter(|pattern| !pattern.as_str().is_empty());
    let pattern = pattern.map(|pattern| Regex::new(&format!("^(?:{})$", pattern.as_str())));
    let Ok(pattern) = pattern.transpose() else {
        return response.with_error_code(ErrorCode::InvalidRegularExpression.code());
    };
    let names = TransactionStatus::ALL.map(TransactionStatus::name);
    let (known, unknown): (Vec<_>, Vec<_>) = message
        .state_filters
        .into_iter()
        .partition(|state| names.contains(&state.as_str()));
    let response = response.with_unknown_state_filters(unknown.clone());
    if known.is_empty() && !unknown.is_empty() {
        return response;
    }
    let has_duration = request.version() >= FIRST_VERSION_WITH_DURATION;
    let selection = Selection {
        statuses: known.iter().map(ToString::to_string).collect(),
        producers: message.producer_id_filters,
        longer_than_ms: if has_duration {
            message.duration_filter
        } else {
            -1
        },
    };
    let mut listed = request.list_transactions(&selection);
    if let Some(pattern) = pattern {
        listed.retain(|listing| pattern.is_match(&listing.transactional_id));
    }
    let states = listed.into_iter().map(|listing| {
        TransactionState::default()
            .with_transactional_id(listing.transactional_id.into())
            .with_producer_id(listing.producer_id.get())
            .with_transaction_state(listing.status.name().to_owned().into())
    });
    response.with_transaction_states(states.collect())
}
