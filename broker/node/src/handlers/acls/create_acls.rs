//! CreateAcls (key 30): adds access rules. A rule that exists already counts as added.

use sedge_core::metadata::{Command, CommandReply};
use sedge_core::security::Operation;
use sedge_protocol::kafka::generated::create_acls_request::CreateAclsRequestData;
use sedge_protocol::kafka::generated::create_acls_response::{
    AclCreationResult, CreateAclsResponseData,
};

use super::rule;
use crate::handlers::{Refusal, Request};
use crate::process::random::random_uuid;

pub async fn handle(request: &Request, message: CreateAclsRequestData) -> CreateAclsResponseData {
    let results = match super::check(request, Operation::Alter) {
        Ok(()) => create(request, &message).await,
        Err(refusal) => vec![Err(refusal); message.creations.len()],
    };
    let results = results.into_iter().map(|result| {
        let created = AclCreationResult::default();
        match result {
            Ok(()) => created,
            Err(refusal) => created
                .with_error_code(refusal.code.code())
                .with_error_message(Some(refusal.message.into())),
        }
    });
    CreateAclsResponseData::default().with_results(results.collect())
}

async fn create(request: &Request, message: &CreateAclsRequestData) -> Vec<Result<(), Refusal>> {
    let mut results: Vec<Result<(), Refusal>> = Vec::with_capacity(message.creations.len());
    let mut rules = Vec::new();
    for wanted in &message.creations {
        results.push(rule(wanted).map(|rule| rules.push((random_uuid(), rule))));
    }
    if rules.is_empty() {
        return results;
    }
    let answers = match request.command(Command::CreateAcls { rules }).await {
        Ok(CommandReply::AclsCreated(created)) => Ok(created
            .into_iter()
            .map(|created| created.map_err(|error| Refusal::new(error.code, error.message)))
            .collect()),
        Ok(_) => Err(super::no_rules()),
        Err(refusal) => Err(refusal),
    };
    super::answer_valid(&mut results, answers);
    results
}
