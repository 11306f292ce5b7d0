//! DeleteGroups (key 42): deletes groups without members, with all of their committed offsets.

use sedge_core::security::Operation;
use sedge_protocol::kafka::generated::delete_groups_request::DeleteGroupsRequestData;
use sedge_protocol::kafka::generated::delete_groups_response::{
    DeletableGroupResult, DeleteGroupsResponseData,
};

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: DeleteGroupsRequestData,
) -> DeleteGroupsResponseData {
    let now = request.now();
    // All deletions are planned first, so that they are awaited together.
    let mut planned = Vec::with_capacity(message.groups_names.len());
    for group_id in message.groups_names {
        let group = request.group(Operation::Delete, group_id.as_str());
        let deleted = group.map(|group| {
            let id = group.id().to_owned();
            group.plan(|machine| machine.handle_delete_groups(now, &[id]))
        });
        planned.push((group_id, deleted));
    }
    let mut results = Vec::with_capacity(planned.len());
    for (group_id, deleted) in planned {
        let result = match deleted {
            Ok((result, written)) => written.wait().await.and(result.into_iter().collect()),
            Err(error) => Err(error),
        };
        results.push(
            DeletableGroupResult::default()
                .with_group_id(group_id)
                .with_error_code(crate::handlers::code_of(result)),
        );
    }
    DeleteGroupsResponseData::default().with_results(results)
}
