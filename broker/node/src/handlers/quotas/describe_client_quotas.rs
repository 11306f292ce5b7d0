//! DescribeClientQuotas (key 48): the quotas of the entities that a filter matches.

use sedge_core::quota::{Entity, Filter, Limits};
use sedge_core::security::Operation;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_client_quotas_request::DescribeClientQuotasRequestData;
use sedge_protocol::kafka::generated::describe_client_quotas_response::{
    DescribeClientQuotasResponseData, EntityData, EntryData, ValueData,
};

use crate::handlers::{Refusal, Request};

pub async fn handle(
    request: &Request,
    message: DescribeClientQuotasRequestData,
) -> DescribeClientQuotasResponseData {
    let response = DescribeClientQuotasResponseData::default();
    match describe(request, &message) {
        Ok(entries) => response.with_entries(Some(entries)),
        Err(refusal) => response
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into()))
            .with_entries(None),
    }
}

fn describe(
    request: &Request,
    message: &DescribeClientQuotasRequestData,
) -> Result<Vec<EntryData>, Refusal> {
    let cluster = request.cluster(Operation::DescribeConfigs);
    let cluster = cluster.map_err(|code| Refusal::new(code, "Cluster authorization failed."))?;
    let components = message.components.iter().map(|component| {
        let name = component.r#match.as_ref().map(KafkaString::as_str);
        (component.entity_type.as_str(), component.match_type, name)
    });
    let filter = Filter::parse(components, message.strict)
        .map_err(|invalid| Refusal::new(invalid.code, invalid.message))?;
    let all = cluster.quotas().iter();
    let wanted = all.filter(|(entity, _)| filter.matches(entity));
    Ok(wanted
        .map(|(entity, limits)| entry(&entity, limits))
        .collect())
}

fn entry(entity: &Entity, limits: &Limits) -> EntryData {
    let parts = entity.parts().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(KafkaString::from_static(kind))
            .with_entity_name(name.map(|name| KafkaString::from(name.to_owned())))
    });
    let values = limits.iter().map(|(key, value)| {
        ValueData::default()
            .with_key(KafkaString::from_static(key.name()))
            .with_value(value)
    });
    EntryData::default()
        .with_entity(parts.collect())
        .with_values(values.collect())
}
