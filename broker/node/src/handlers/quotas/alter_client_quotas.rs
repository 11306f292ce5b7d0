//! AlterClientQuotas (key 49): sets and removes quotas.

use sedge_core::metadata::{Command, CommandReply, QuotaAlteration, QuotaEntity};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_client_quotas_request as wanted;
use sedge_protocol::kafka::generated::alter_client_quotas_request::AlterClientQuotasRequestData;
use sedge_protocol::kafka::generated::alter_client_quotas_response::{
    AlterClientQuotasResponseData, EntityData, EntryData,
};

use crate::handlers::{Refusal, Request};

pub async fn handle(
    request: &Request,
    message: AlterClientQuotasRequestData,
) -> AlterClientQuotasResponseData {
    let alterations: Vec<_> = message.entries.iter().map(alteration).collect();
    let entities: Vec<_> = alterations.iter().map(|of| of.entity.clone()).collect();
    let command = Command::AlterQuotas {
        alterations,
        validate_only: message.validate_only,
    };
    let results = match request.command(command).await {
        Ok(CommandReply::QuotasAltered(results)) => results
            .into_iter()
            .map(|(entity, result)| {
                let result = result.map_err(|error| Refusal::new(error.code, error.message));
                (entity, result)
            })
            .collect(),
        Ok(_) => {
            let refusal = Refusal::new(
                ErrorCode::UnknownServerError,
                "The controller answered with something other than quotas.",
            );
            all(entities, &refusal)
        }
        Err(refusal) => all(entities, &refusal),
    };
    let entries = results
        .into_iter()
        .map(|(entity, result)| entry(entity, result));
    AlterClientQuotasResponseData::default().with_entries(entries.collect())
}

/// Returns the response to a request that is refused as a whole.
fn all(entities: Vec<QuotaEntity>, refusal: &Refusal) -> Vec<(QuotaEntity, Result<(), Refusal>)> {
    let entities = entities.into_iter();
    entities
        .map(|entity| (entity, Err(refusal.clone())))
        .collect()
}

fn alteration(entry: &wanted::EntryData) -> QuotaAlteration {
    let entity = entry.entity.iter().map(|part| {
        let name = part.entity_name.as_ref().map(ToString::to_string);
        (part.entity_type.to_string(), name)
    });
    let changes = entry.ops.iter().map(|op| {
        let value = (!op.remove).then_some(op.value);
        (op.key.to_string(), value)
    });
    QuotaAlteration {
        entity: entity.collect(),
        changes: changes.collect(),
    }
}

fn entry(entity: QuotaEntity, result: Result<(), Refusal>) -> EntryData {
    let parts = entity.into_iter().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(KafkaString::from(kind))
            .with_entity_name(name.map(KafkaString::from))
    });
    let entry = EntryData::default().with_entity(parts.collect());
    match result {
        Ok(()) => entry,
        Err(refusal) => entry
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into())),
    }
}
