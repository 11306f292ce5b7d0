//! DeleteGroups (key 42): groups without members, with all that they have committed.

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::delete_groups_request::DeleteGroupsRequestData;
use sedge_protocol::kafka::generated::delete_groups_response::{
    DeletableGroupResult, DeleteGroupsResponseData,
};

use super::Request;

pub async fn handle(
    request: &Request,
    message: DeleteGroupsRequestData,
) -> DeleteGroupsResponseData {
    let names: Vec<String> = message
        .groups_names
        .iter()
        .map(ToString::to_string)
        .collect();
    let now = request.broker.log.clock.now();
    let (results, written) = request
        .broker
        .groups
        .plan(|machine| machine.handle_delete_groups(now, &names));
    let written: Result<(), ErrorCode> = super::written(written).await;
    let results = message
        .groups_names
        .into_iter()
        .zip(results)
        .map(|(group_id, result)| {
            DeletableGroupResult::default()
                .with_group_id(group_id)
                .with_error_code(super::code_of(result.and(written)))
        });
    DeleteGroupsResponseData::default().with_results(results.collect())
}
