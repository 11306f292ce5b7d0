//! DescribeUserScramCredentials (key 50, KIP-554): lists users with their SCRAM mechanisms.

use std::collections::BTreeMap;

use sedge_core::security::{Operation, Users};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_user_scram_credentials_request::DescribeUserScramCredentialsRequestData;
use sedge_protocol::kafka::generated::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResponseData, DescribeUserScramCredentialsResult,
};

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: DescribeUserScramCredentialsRequestData,
) -> DescribeUserScramCredentialsResponseData {
    let response = DescribeUserScramCredentialsResponseData::default();
    let cluster = match request.cluster(Operation::Describe) {
        Ok(cluster) => cluster,
        Err(error) => {
            let why = Some(KafkaString::from_static("Cluster authorization failed."));
            // Once for each user that the request names, without the names.
            let named = message.users.iter().flatten().map(|_| {
                DescribeUserScramCredentialsResult::default()
                    .with_error_code(error.code())
                    .with_error_message(why.clone())
            });
            return response
                .with_results(named.collect())
                .with_error_code(error.code())
                .with_error_message(why);
        }
    };
    let users = cluster.users();
    // How often the request names each user. A request without names asks for all users.
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    for user in message.users.iter().flatten() {
        *wanted.entry(user.name.as_str()).or_default() += 1;
    }
    if wanted.is_empty() {
        wanted.extend(users.names().map(|user| (&**user, 1)));
    }
    let results = wanted
        .into_iter()
        .map(|(user, times)| describe(users, user, times));
    response.with_results(results.collect())
}

fn describe(users: &Users, user: &str, times: usize) -> DescribeUserScramCredentialsResult {
    let result =
        DescribeUserScramCredentialsResult::default().with_user(KafkaString::from(user.to_owned()));
    let refused = |code: ErrorCode, why: &str| {
        let message = KafkaString::from(format!("{why}: {user}"));
        result
            .clone()
            .with_error_code(code.code())
            .with_error_message(Some(message))
    };
    if times > 1 {
        let why = "Cannot describe SCRAM credentials for the same user twice in a single request";
        return refused(ErrorCode::DuplicateResource, why);
    }
    let infos: Vec<CredentialInfo> = users
        .of_user(user)
        .map(|credential| {
            CredentialInfo::default()
                .with_mechanism(credential.mechanism.number())
                .with_iterations(credential.iterations)
        })
        .collect();
    if infos.is_empty() {
        let why = "Attempt to describe a user credential that does not exist";
        return refused(ErrorCode::ResourceNotFound, why);
    }
    result.with_credential_infos(infos)
}
