//! ListGroups (key 16): lists all groups, or those in some states or of some types.

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::list_groups_request::ListGroupsRequestData;
use sedge_protocol::kafka::generated::list_groups_response::{ListGroupsResponseData, ListedGroup};

use crate::handlers::Request;

pub async fn handle(request: &Request, message: ListGroupsRequestData) -> ListGroupsResponseData {
    let texts = |filter: Vec<KafkaString>| -> Vec<String> {
        filter.into_iter().map(|text| text.to_string()).collect()
    };
    let (states, types) = (texts(message.states_filter), texts(message.types_filter));
    let groups = request.list_groups(&states, &types);
    let groups = groups.into_iter().map(|group| {
        ListedGroup::default()
            .with_group_id(group.group_id.into())
            .with_protocol_type(group.protocol_type.into())
            .with_group_state(KafkaString::from_static(group.state))
            .with_group_type(KafkaString::from_static(group.group_type))
    });
    ListGroupsResponseData::default().with_groups(groups.collect())
}
