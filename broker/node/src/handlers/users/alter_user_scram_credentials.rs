//! AlterUserScramCredentials (key 51, KIP-554): sets and deletes users' SCRAM credentials.

use std::collections::{BTreeMap, BTreeSet};

use sedge_core::metadata::{Command, CommandReply, CredentialChange};
use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::scram::{Credential, Mechanism};
use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequestData, ScramCredentialUpsertion,
};
use sedge_protocol::kafka::generated::alter_user_scram_credentials_response::{
    AlterUserScramCredentialsResponseData, AlterUserScramCredentialsResult,
};

use crate::handlers::{Refusal, Request};

/// The results of a request, by user.
type Results = BTreeMap<String, Result<(), Refusal>>;

pub async fn handle(
    request: &Request,
    message: AlterUserScramCredentialsRequestData,
) -> AlterUserScramCredentialsResponseData {
    let results = match request.check(Operation::Alter, Resource::Cluster, CLUSTER_NAME) {
        Ok(()) => alter(request, &message).await,
        Err(code) => {
            let refusal = Refusal::new(code, "Cluster authorization failed.");
            users(&message)
                .map(|user| (user.to_owned(), Err(refusal.clone())))
                .collect()
        }
    };
    let results = results.into_iter().map(|(user, result)| {
        let altered = AlterUserScramCredentialsResult::default().with_user(KafkaString::from(user));
        match result {
            Ok(()) => altered,
            Err(refusal) => altered
                .with_error_code(refusal.code.code())
                .with_error_message(Some(refusal.message.into())),
        }
    });
    AlterUserScramCredentialsResponseData::default().with_results(results.collect())
}

/// Returns the user of each change.
fn users(message: &AlterUserScramCredentialsRequestData) -> impl Iterator<Item = &str> {
    let deletions = message.deletions.iter().map(|one| one.name.as_str());
    let upsertions = message.upsertions.iter().map(|one| one.name.as_str());
    deletions.chain(upsertions)
}

async fn alter(request: &Request, message: &AlterUserScramCredentialsRequestData) -> Results {
    let (changes, mut results) = changes(message);
    if changes.is_empty() {
        return results;
    }
    let changed: Vec<String> = changes.iter().map(|change| change.user.clone()).collect();
    let command = Command::AlterUserScramCredentials { changes };
    let refusal = match request.command(command).await {
        Ok(CommandReply::CredentialsAltered(altered)) => {
            results.extend(altered.into_iter().map(|(user, result)| {
                let result = result.map_err(|error| Refusal::new(error.code, error.message));
                (user, result)
            }));
            return results;
        }
        Ok(_) => Refusal::new(
            ErrorCode::UnknownServerError,
            "The controller answered with something other than credentials.",
        ),
        Err(refusal) => refusal,
    };
    results.extend(changed.into_iter().map(|user| (user, Err(refusal.clone()))));
    results
}

/// Returns the changes for the controller to decide about, and the refusals of the others.
fn changes(message: &AlterUserScramCredentialsRequestData) -> (Vec<CredentialChange>, Results) {
    let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for user in users(message) {
        if !once.insert(user) {
            twice.insert(user);
        }
    }
    let deletions = message.deletions.iter().map(|deletion| {
        let user = deletion.name.as_str();
        let mechanism = mechanism(user, deletion.mechanism);
        (user, mechanism.map(|mechanism| (mechanism, None)))
    });
    let upsertions = message.upsertions.iter().map(|upsertion| {
        let user = upsertion.name.as_str();
        let mechanism = mechanism(user, upsertion.mechanism);
        let credential = mechanism.and_then(|mechanism| {
            let credential = credential(mechanism, upsertion)?;
            Ok((mechanism, Some(credential)))
        });
        (user, credential)
    });
    let (mut changes, mut refused) = (Vec::new(), Results::new());
    for (user, change) in deletions.chain(upsertions) {
        let change = match change {
            _ if twice.contains(user) => Err(Refusal::new(
                ErrorCode::DuplicateResource,
                "A user credential cannot be altered twice in the same request",
            )),
            change => change,
        };
        let user = user.to_owned();
        match change {
            Ok((mechanism, credential)) => changes.push(CredentialChange {
                user,
                mechanism,
                credential,
            }),
            Err(refusal) => _ = refused.insert(user, Err(refusal)),
        }
    }
    (changes, refused)
}

fn mechanism(user: &str, number: i8) -> Result<Mechanism, Refusal> {
    if user.is_empty() {
        return Err(Refusal::new(
            ErrorCode::UnacceptableCredential,
            "Username must not be empty",
        ));
    }
    Mechanism::from_number(number).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnsupportedSaslMechanism,
            "Unknown SCRAM mechanism",
        )
    })
}

fn credential(
    mechanism: Mechanism,
    upsertion: &ScramCredentialUpsertion,
) -> Result<Credential, Refusal> {
    let salted_password = &upsertion.salted_password;
    if salted_password.len() != mechanism.key_bytes() {
        return Err(Refusal::new(
            ErrorCode::UnacceptableCredential,
            format!(
                "The salted password of {} has {} bytes, not {}",
                mechanism.name(),
                mechanism.key_bytes(),
                salted_password.len()
            ),
        ));
    }
    let (salt, iterations) = (upsertion.salt.to_vec(), upsertion.iterations);
    Ok(Credential::of_salted_password(
        mechanism,
        salted_password,
        salt,
        iterations,
    ))
}
