//! SCRAM credentials in the metadata: their records, and the controller's changes of them.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::metadata_records::{
    MetadataRecord, RemoveUserScramCredentialRecord, UserScramCredentialRecord,
};

use super::{CommandError, CommandReply, CredentialChange};
use crate::machine::Plan;
use crate::security::Users;
use crate::security::limits::{
    CREDENTIALS_BYTES_MAX, CREDENTIALS_MAX, SCRAM_SALT_BYTES_MAX, USER_NAME_BYTES_MAX,
};
use crate::security::scram::{Credential, Mechanism, check_iterations};

/// Returns the credential of a record. `None` if Kafka has no such mechanism; decoding refuses such
/// records.
pub(super) fn credential(record: &UserScramCredentialRecord) -> Option<Credential> {
    Some(Credential {
        mechanism: Mechanism::from_number(record.mechanism)?,
        salt: record.salt.clone(),
        stored_key: record.stored_key.clone(),
        server_key: record.server_key.clone(),
        iterations: record.iterations,
    })
}

fn record(user: &str, credential: &Credential) -> MetadataRecord {
    MetadataRecord::UserScramCredential(UserScramCredentialRecord {
        name: user.to_owned(),
        mechanism: credential.mechanism.number(),
        salt: credential.salt.clone(),
        stored_key: credential.stored_key.clone(),
        server_key: credential.server_key.clone(),
        iterations: credential.iterations,
    })
}

/// Returns the records that set these credentials.
pub(super) fn records(users: &Users) -> impl Iterator<Item = MetadataRecord> + '_ {
    users
        .iter()
        .map(|(user, credential)| record(user, credential))
}

/// Plans changes of credentials. Each is made or refused on its own; no two are of the same user.
pub(super) fn plan_alter(
    users: &Users,
    changes: Vec<CredentialChange>,
) -> Plan<MetadataRecord, CommandReply> {
    let (mut count, mut bytes) = (users.len(), users.bytes());
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let is_new = users.credential(&change.user, change.mechanism).is_none();
        let planned = match &change.credential {
            Some(credential) => check(&change.user, credential).and_then(|()| {
                if is_new {
                    let bytes_of = Users::bytes_of(&change.user);
                    if count >= CREDENTIALS_MAX || bytes + bytes_of > CREDENTIALS_BYTES_MAX {
                        return Err(too_many(count, bytes));
                    }
                    (count, bytes) = (count + 1, bytes + bytes_of);
                }
                Ok(record(&change.user, credential))
            }),
            None if is_new => Err(CommandError::new(
                ErrorCode::ResourceNotFound,
                "Attempt to delete a user credential that does not exist",
            )),
            None => {
                let removal = RemoveUserScramCredentialRecord {
                    name: change.user.clone(),
                    mechanism: change.mechanism.number(),
                };
                Ok(MetadataRecord::RemoveUserScramCredential(removal))
            }
        };
        results.push((change.user, planned.map(|record| records.push(record))));
    }
    Plan {
        records,
        reply: CommandReply::CredentialsAltered(results),
    }
}

fn too_many(count: usize, bytes: usize) -> CommandError {
    CommandError::new(
        ErrorCode::PolicyViolation,
        format!(
            "There are {count} SCRAM credentials of {bytes} bytes; the limits are \
             {CREDENTIALS_MAX} and {CREDENTIALS_BYTES_MAX}."
        ),
    )
}

fn check(user: &str, credential: &Credential) -> Result<(), CommandError> {
    let unacceptable =
        |why: &str| CommandError::new(ErrorCode::UnacceptableCredential, why.to_string());
    if user.len() > USER_NAME_BYTES_MAX {
        return Err(unacceptable("Username is too long"));
    }
    if credential.salt.len() > SCRAM_SALT_BYTES_MAX {
        return Err(unacceptable("Salt is too long"));
    }
    check_iterations(credential.iterations).map_err(unacceptable)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::machine::Machine as _;
    use crate::metadata::tests::{machine, run, seen};
    use crate::metadata::{Command, MetadataMachine};
    use sedge_protocol::ids::Offset;

    fn upsert(user: &str, mechanism: Mechanism, iterations: i32) -> CredentialChange {
        let salt = b"salt".to_vec();
        CredentialChange {
            user: user.into(),
            mechanism,
            credential: Some(Credential::of_salted_password(
                mechanism, b"salted", salt, iterations,
            )),
        }
    }

    fn delete(user: &str, mechanism: Mechanism) -> CredentialChange {
        CredentialChange {
            user: user.into(),
            mechanism,
            credential: None,
        }
    }

    fn alter(machine: &mut MetadataMachine, changes: Vec<CredentialChange>) -> Vec<ErrorCode> {
        let command = Command::AlterUserScramCredentials { changes };
        let CommandReply::CredentialsAltered(results) = run(machine, &mut Vec::new(), command)
        else {
            panic!("not altered");
        };
        let results = results.into_iter().map(|(_, result)| result);
        results
            .map(|result| result.err().map_or(ErrorCode::None, |error| error.code))
            .collect()
    }

    #[test]
    fn a_user_has_a_credential_a_mechanism_until_it_is_deleted() {
        let (sha256, sha512) = (Mechanism::Sha256, Mechanism::Sha512);
        let mut machine = machine();
        let changes = vec![upsert("a", sha256, 4096), upsert("b", sha512, 4095)];
        let few = ErrorCode::UnacceptableCredential;
        assert_eq!(alter(&mut machine, changes), [ErrorCode::None, few]);
        let changes = vec![upsert("a", sha512, 8192), delete("b", sha512)];
        let missing = ErrorCode::ResourceNotFound;
        assert_eq!(alter(&mut machine, changes), [ErrorCode::None, missing]);
        let users = machine.image().users();
        let iterations: Vec<i32> = users.of_user("a").map(|one| one.iterations).collect();
        assert_eq!(iterations, [4096, 8192]);

        let mut rebuilt = self::machine();
        for record in machine.snapshot() {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            rebuilt.apply(Offset(0), &record);
        }
        assert_eq!(seen(&rebuilt), seen(&machine));
        let (found, expected) = (rebuilt.image().users(), machine.image().users());
        assert_eq!(
            found.credential("a", sha256),
            expected.credential("a", sha256)
        );

        let changes = vec![delete("a", sha256)];
        assert_eq!(alter(&mut machine, changes), [ErrorCode::None]);
        assert_eq!(
            alter(&mut machine, vec![delete("a", sha512)]),
            [ErrorCode::None]
        );
        assert!(machine.image().users().is_empty());
        assert_eq!(machine.image().users().names().count(), 0);
    }

    #[test]
    fn there_are_only_so_many_credentials() {
        let mut machine = machine();
        let user = |number: usize| upsert(&format!("u{number}"), Mechanism::Sha256, 4096);
        let all = (0..CREDENTIALS_MAX).map(user).collect();
        let results = alter(&mut machine, all);
        assert!(results.iter().all(|code| *code == ErrorCode::None));
        let more = vec![user(CREDENTIALS_MAX), user(0)];
        let results = alter(&mut machine, more);
        assert_eq!(results, [ErrorCode::PolicyViolation, ErrorCode::None]);
        let one = vec![delete("u0", Mechanism::Sha256), user(CREDENTIALS_MAX)];
        assert_eq!(alter(&mut machine, one.clone())[0], ErrorCode::None);
        assert_eq!(alter(&mut machine, one)[1], ErrorCode::None);
    }

    #[test]
    fn a_long_name_counts_as_much_as_it_takes() {
        let mut machine = machine();
        let long = "n".repeat(USER_NAME_BYTES_MAX - 5);
        let user = |number: usize| upsert(&format!("{long}{number:05}"), Mechanism::Sha512, 4096);
        let results = alter(&mut machine, (0..CREDENTIALS_MAX).map(user).collect());
        assert!(results.contains(&ErrorCode::PolicyViolation));
        assert!(machine.image().users().bytes() <= CREDENTIALS_BYTES_MAX);
        let longer = alter(
            &mut machine,
            vec![upsert(&(long + "123456"), Mechanism::Sha512, 4096)],
        );
        assert_eq!(longer, [ErrorCode::UnacceptableCredential]);
    }
}
