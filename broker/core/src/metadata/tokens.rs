//! Delegation tokens in the metadata: their records, and the controller's commands that create,
//! renew and expire them (Kafka's `DelegationTokenControlManager`).
//!
//! The caller finds a token by its HMAC, and checks whether delegation tokens are enabled.

use alloc::format;
use alloc::string::ToString as _;
use alloc::sync::Arc;

use sedge_protocol::ErrorCode;
use sedge_protocol::metadata_records::{
    DelegationTokenRecord, MetadataRecord, RemoveDelegationTokenRecord,
};

use super::{CommandError, CommandReply, TokenCommand};
use crate::machine::Plan;
use crate::security::limits::{TOKEN_BYTES_MAX, TOKEN_RENEWERS_MAX, TOKENS_BYTES_MAX, TOKENS_MAX};
use crate::security::{Principal, Token, Tokens};

/// Returns the token of a record. `None` if a principal is invalid; this broker writes no such
/// record.
pub(super) fn token(record: &DelegationTokenRecord) -> Option<Token> {
    let renewers = record.renewers.iter().map(|one| Principal::parse(one));
    Some(Token {
        id: record.token_id.clone(),
        owner: Principal::parse(&record.owner)?,
        requester: Principal::parse(&record.requester)?,
        renewers: renewers.collect::<Option<_>>()?,
        issued_ms: record.issue_timestamp,
        latest_ms: record.max_timestamp,
        expires_ms: record.expiration_timestamp,
    })
}

pub(super) fn record(token: &Token) -> MetadataRecord {
    let text = |of: &Principal| of.as_str().to_string();
    MetadataRecord::DelegationToken(DelegationTokenRecord {
        owner: text(&token.owner),
        requester: text(&token.requester),
        renewers: token.renewers.iter().map(text).collect(),
        issue_timestamp: token.issued_ms,
        max_timestamp: token.latest_ms,
        expiration_timestamp: token.expires_ms,
        token_id: token.id.clone(),
    })
}

fn removal(token: &Token) -> MetadataRecord {
    let token_id = token.id.clone();
    MetadataRecord::RemoveDelegationToken(RemoveDelegationTokenRecord { token_id })
}

/// Returns the records that create these tokens.
pub(super) fn records(tokens: &Tokens) -> impl Iterator<Item = MetadataRecord> + '_ {
    tokens.iter().map(|token| record(token))
}

pub(super) fn plan(
    tokens: &Tokens,
    now_ms: i64,
    command: TokenCommand,
) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
    match command {
        TokenCommand::Create {
            id,
            owner,
            requester,
            renewers,
            max_lifetime_ms,
            lifetimes,
        } => {
            let lifetime_ms = at_most(max_lifetime_ms, lifetimes.max_ms);
            let latest_ms = now_ms.saturating_add(lifetime_ms);
            let token = Token {
                id,
                owner,
                requester,
                renewers,
                issued_ms: now_ms,
                latest_ms,
                expires_ms: latest_ms.min(now_ms.saturating_add(lifetimes.renewed_ms)),
            };
            check_room(tokens, &token)?;
            Ok(Plan {
                records: alloc::vec![record(&token)],
                reply: CommandReply::Token(Arc::new(token)),
            })
        }
        TokenCommand::Renew {
            id,
            by,
            period_ms,
            lifetimes,
        } => {
            let token = tokens.get(&id).ok_or_else(not_found)?;
            if token.has_expired(now_ms) {
                return Err(expired());
            }
            check_renewer(token, &by)?;
            Ok(expire_in(
                token,
                now_ms,
                at_most(period_ms, lifetimes.renewed_ms),
            ))
        }
        TokenCommand::Expire { id, by, period_ms } => {
            let token = tokens.get(&id).ok_or_else(not_found)?;
            check_renewer(token, &by)?;
            if period_ms < 0 {
                return Ok(Plan {
                    records: alloc::vec![removal(token)],
                    reply: CommandReply::TokenExpires { at_ms: now_ms },
                });
            }
            if token.has_expired(now_ms) {
                return Err(expired());
            }
            Ok(expire_in(token, now_ms, period_ms))
        }
        TokenCommand::RemoveExpired => {
            let gone = tokens.iter().filter(|token| token.has_expired(now_ms));
            Ok(Plan {
                records: gone.map(|token| removal(token)).collect(),
                reply: CommandReply::Done,
            })
        }
    }
}

fn at_most(wanted_ms: i64, max_ms: i64) -> i64 {
    if wanted_ms > 0 {
        wanted_ms.min(max_ms)
    } else {
        max_ms
    }
}

fn expire_in(token: &Token, now_ms: i64, period_ms: i64) -> Plan<MetadataRecord, CommandReply> {
    let at_ms = token.latest_ms.min(now_ms.saturating_add(period_ms));
    let token = Token {
        expires_ms: at_ms,
        ..token.clone()
    };
    Plan {
        records: alloc::vec![record(&token)],
        reply: CommandReply::TokenExpires { at_ms },
    }
}

fn check_room(tokens: &Tokens, token: &Token) -> Result<(), CommandError> {
    let refused = |message| Err(CommandError::new(ErrorCode::PolicyViolation, message));
    if token.renewers.len() > TOKEN_RENEWERS_MAX || token.bytes() > TOKEN_BYTES_MAX {
        return refused(format!(
            "A delegation token has at most {TOKEN_RENEWERS_MAX} renewers and {TOKEN_BYTES_MAX} \
             bytes."
        ));
    }
    if tokens.len() >= TOKENS_MAX || tokens.bytes() + token.bytes() > TOKENS_BYTES_MAX {
        return refused(format!(
            "There are {} delegation tokens of {} bytes; the limits are {TOKENS_MAX} and \
             {TOKENS_BYTES_MAX}. Expire some.",
            tokens.len(),
            tokens.bytes()
        ));
    }
    Ok(())
}

fn check_renewer(token: &Token, by: &Principal) -> Result<(), CommandError> {
    if token.may_be_renewed_by(by) {
        return Ok(());
    }
    Err(CommandError::new(
        ErrorCode::DelegationTokenOwnerMismatch,
        "The client is neither the owner nor a renewer of the delegation token.",
    ))
}

fn not_found() -> CommandError {
    CommandError::new(
        ErrorCode::DelegationTokenNotFound,
        "There is no such delegation token.",
    )
}

fn expired() -> CommandError {
    CommandError::new(
        ErrorCode::DelegationTokenExpired,
        "The delegation token has expired.",
    )
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use sedge_protocol::ids::Offset;

    use super::*;
    use crate::machine::{Machine as _, Now};
    use crate::metadata::tests::{machine, seen};
    use crate::metadata::{Command, MetadataMachine};
    use crate::security::TokenLifetimes;

    const LIFETIMES: TokenLifetimes = TokenLifetimes {
        max_ms: 1_000,
        renewed_ms: 100,
    };

    fn create(id: &str, max_lifetime_ms: i64) -> TokenCommand {
        TokenCommand::Create {
            id: id.to_string(),
            owner: Principal::user("alice"),
            requester: Principal::user("admin"),
            renewers: alloc::vec![Principal::user("bob")],
            max_lifetime_ms,
            lifetimes: LIFETIMES,
        }
    }

    fn renew(by: &str, period_ms: i64) -> TokenCommand {
        TokenCommand::Renew {
            id: "t".to_string(),
            by: Principal::user(by),
            period_ms,
            lifetimes: LIFETIMES,
        }
    }

    fn expire(by: &str, period_ms: i64) -> TokenCommand {
        TokenCommand::Expire {
            id: "t".to_string(),
            by: Principal::user(by),
            period_ms,
        }
    }

    fn run(
        machine: &mut MetadataMachine,
        now_ms: i64,
        command: TokenCommand,
    ) -> Result<CommandReply, ErrorCode> {
        let now = Now {
            wall_ms: now_ms,
            ..Now::default()
        };
        let plan = machine.plan(now, Command::Token(command));
        let plan = plan.map_err(|error| error.code)?;
        for record in &plan.records {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            machine.apply(Offset(0), &record);
        }
        Ok(plan.reply)
    }

    const fn expires(at_ms: i64) -> CommandReply {
        CommandReply::TokenExpires { at_ms }
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_renewed_and_no_longer_than_it_may() {
        let mut machine = machine();
        let Ok(CommandReply::Token(token)) = run(&mut machine, 5_000, create("t", -1)) else {
            panic!("no token");
        };
        assert_eq!((token.latest_ms, token.expires_ms), (6_000, 5_100));
        assert_eq!(machine.image().tokens().get("t"), Some(&token));
        assert_eq!(
            run(&mut machine, 5_050, renew("alice", -1)),
            Ok(expires(5_150))
        );
        assert_eq!(
            run(&mut machine, 5_060, renew("bob", 10)),
            Ok(expires(5_070))
        );
        assert_eq!(
            run(&mut machine, 5_060, renew("bob", 5_000)),
            Ok(expires(5_160))
        );
        assert_eq!(
            run(&mut machine, 5_060, expire("alice", 900)),
            Ok(expires(5_960))
        );
        assert_eq!(
            run(&mut machine, 5_950, renew("alice", 0)),
            Ok(expires(6_000))
        );
        let refused = Err(ErrorCode::DelegationTokenExpired);
        assert_eq!(run(&mut machine, 6_001, renew("alice", 0)), refused);
        assert_eq!(run(&mut machine, 6_001, expire("alice", 0)), refused);
        // An expired token can still be removed.
        assert_eq!(
            run(&mut machine, 6_001, expire("bob", -1)),
            Ok(expires(6_001))
        );
        assert!(machine.image().tokens().is_empty());
        assert_eq!(machine.image().tokens().bytes(), 0);
        let refused = Err(ErrorCode::DelegationTokenNotFound);
        assert_eq!(run(&mut machine, 6_001, expire("alice", -1)), refused);
        assert_eq!(run(&mut machine, 6_001, renew("alice", -1)), refused);
    }

    #[test]
    fn a_lifetime_is_the_one_that_is_asked_for_up_to_the_longest() {
        let check = |wanted_ms: i64, latest_ms: i64, expires_ms: i64| {
            let reply = run(&mut machine(), 0, create("t", wanted_ms));
            let Ok(CommandReply::Token(token)) = reply else {
                panic!("{reply:?}");
            };
            assert_eq!((token.latest_ms, token.expires_ms), (latest_ms, expires_ms));
        };
        check(0, 1_000, 100);
        check(50, 50, 50);
        check(500, 500, 100);
        check(i64::MAX, 1_000, 100);
    }

    #[test]
    fn only_the_owner_and_the_renewers_change_a_token() {
        let mut machine = machine();
        run(&mut machine, 0, create("t", 0)).unwrap();
        let refused = Err(ErrorCode::DelegationTokenOwnerMismatch);
        for by in ["mallory", "admin", "Alice"] {
            assert_eq!(run(&mut machine, 1, renew(by, 0)), refused, "{by}");
            assert_eq!(run(&mut machine, 1, expire(by, -1)), refused, "{by}");
        }
        let token = machine.image().tokens().get("t").unwrap();
        assert!(token.is_of(&Principal::user("admin")));
        assert!(!token.is_of(&Principal::user("mallory")));
    }

    #[test]
    fn what_has_expired_goes() {
        let mut machine = machine();
        run(&mut machine, 0, create("t", 0)).unwrap();
        run(&mut machine, 50, create("u", 0)).unwrap();
        run(&mut machine, 101, TokenCommand::RemoveExpired).unwrap();
        let ids: Vec<_> = machine
            .image()
            .tokens()
            .iter()
            .map(|of| of.id.as_str())
            .collect();
        assert_eq!(ids, ["u"]);
    }

    #[test]
    fn a_snapshot_has_the_tokens() {
        let mut machine = machine();
        run(&mut machine, 0, create("t", 0)).unwrap();
        run(&mut machine, 0, create("u", 0)).unwrap();
        run(&mut machine, 10, renew("bob", 0)).unwrap();
        let mut rebuilt = self::machine();
        for record in machine.snapshot() {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            rebuilt.apply(Offset(0), &record);
        }
        assert_eq!(seen(&rebuilt), seen(&machine));
        assert_eq!(rebuilt.image().tokens(), machine.image().tokens());
    }

    #[test]
    fn there_are_only_as_many_tokens_as_memory_is_for() {
        let mut machine = machine();
        let refused = Err(ErrorCode::PolicyViolation);
        let mut many = create("t", 0);
        if let TokenCommand::Create { renewers, .. } = &mut many {
            *renewers = alloc::vec![Principal::user("bob"); TOKEN_RENEWERS_MAX + 1];
        }
        assert_eq!(run(&mut machine, 0, many), refused);
        let long = "n".repeat(30_000);
        let mut made = 0;
        let result = loop {
            let mut token = create(&format!("t{made}"), 0);
            if let TokenCommand::Create { owner, .. } = &mut token {
                *owner = Principal::user(&long);
            }
            match run(&mut machine, 0, token) {
                Ok(_) => made += 1,
                Err(code) => break code,
            }
        };
        assert_eq!(Err(result), refused);
        assert!(made < TOKENS_MAX && machine.image().tokens().bytes() <= TOKENS_BYTES_MAX);
    }
}
