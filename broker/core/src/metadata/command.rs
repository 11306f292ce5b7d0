//! Commands to the controller, and their results.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::ProducerId;
use sedge_protocol::kafka::KafkaUuid;

use crate::security::scram::{Credential, Mechanism};
use crate::security::{AclBinding, AclFilter, Principal, Token, TokenLifetimes};

/// A command to the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    CreateTopic {
        name: String,
        /// A random UUID, version 4. It tells two topics of one name apart.
        id: KafkaUuid,
        partitions: i32,
        /// Pairs of name and value, checked by the caller.
        configs: Vec<(String, String)>,
        validate_only: bool,
    },
    DeleteTopic {
        topic: TopicName,
    },
    /// `total` is the requested number of partitions. `assigned` is the number of new partitions
    /// for which the request assigns replicas, if it assigns any.
    CreatePartitions {
        name: String,
        total: i32,
        assigned: Option<usize>,
        validate_only: bool,
    },
    /// Sets each key to its value, or back to its default if the value is `None`. Checked by the
    /// caller.
    AlterTopicConfigs {
        name: String,
        changes: Vec<(String, Option<String>)>,
    },
    AlterBrokerConfigs {
        /// Whether the changes are for all brokers, and not for this one alone.
        are_for_all: bool,
        changes: Vec<(String, Option<String>)>,
    },
    /// Sets and removes keys of a group. Checked by the caller, except for the limits.
    AlterGroupConfigs {
        group: String,
        changes: Vec<(String, Option<String>)>,
    },
    /// Sets and removes keys of a subscription to clients' metrics. Checked by the caller, except
    /// for the limit.
    AlterClientMetrics {
        name: String,
        changes: Vec<(String, Option<String>)>,
    },
    /// Hands out `count` producer ids that were never handed out before.
    AllocateProducerIds {
        count: i64,
    },
    /// KIP-101: distinguishes new records from a tail that a restart lost.
    BumpLeaderEpoch,
    /// Adds access rules, each under a random id. The caller has validated the rules; the
    /// controller checks only the limits.
    CreateAcls {
        rules: Vec<(KafkaUuid, AclBinding)>,
    },
    /// Removes the access rules that at least one of these filters matches.
    DeleteAcls {
        filters: Vec<AclFilter>,
    },
    /// Sets or removes SCRAM credentials. No two changes are of one user.
    AlterUserScramCredentials {
        changes: Vec<CredentialChange>,
    },
    AlterQuotas {
        alterations: Vec<QuotaAlteration>,
        validate_only: bool,
    },
    Token(TokenCommand),
    /// Sets levels of features, by their names: all of them or none.
    UpdateFeatures {
        updates: BTreeMap<String, FeatureUpdate>,
        validate_only: bool,
    },
}

/// A change of a user's credential. The credential of a deletion is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialChange {
    pub user: String,
    pub mechanism: Mechanism,
    pub credential: Option<Credential>,
}

/// Changes of the quotas of one entity, as the client gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaAlteration {
    /// Names by type; `None` is the default.
    pub entity: QuotaEntity,
    /// Pairs of key and value; `None` removes the quota.
    pub changes: Vec<(String, Option<f64>)>,
}

/// The entity of a quota before it is checked: names by type.
pub type QuotaEntity = BTreeMap<String, Option<String>>;

/// The kind of change that a client allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

impl UpgradeType {
    #[must_use]
    pub const fn from_wire(number: i8) -> Option<Self> {
        match number {
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// A requested level. The type of the upgrade is `None` if the client sent an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    pub level: i16,
    pub upgrade_type: Option<UpgradeType>,
}

/// A command about delegation tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenCommand {
    /// Creates a token with this id, a random UUID. A lifetime of 0 or less means the longest.
    Create {
        id: String,
        owner: Principal,
        requester: Principal,
        renewers: Vec<Principal>,
        max_lifetime_ms: i64,
        lifetimes: TokenLifetimes,
    },
    /// Renews a token for this time; 0 or less means the longest.
    Renew {
        id: String,
        by: Principal,
        period_ms: i64,
        lifetimes: TokenLifetimes,
    },
    /// Lets a token expire after this time, or removes it now if the time is negative.
    Expire {
        id: String,
        by: Principal,
        period_ms: i64,
    },
    /// Removes the tokens that have expired.
    RemoveExpired,
}

impl Command {
    /// Returns whether the command must be possible on a full disk: it frees space, may have
    /// retention free space, or is what a start needs to get that far.
    #[must_use]
    pub fn may_free_space(&self) -> bool {
        match self {
            Self::DeleteTopic { .. } | Self::BumpLeaderEpoch => true,
            Self::AlterTopicConfigs { changes, .. } | Self::AlterBrokerConfigs { changes, .. } => {
                changes.iter().any(|(key, _)| decides_what_goes(key))
            }
            Self::CreateTopic { .. }
            | Self::CreatePartitions { .. }
            | Self::AlterClientMetrics { .. }
            | Self::AlterGroupConfigs { .. }
            | Self::AllocateProducerIds { .. }
            | Self::CreateAcls { .. }
            | Self::DeleteAcls { .. }
            | Self::AlterUserScramCredentials { .. }
            | Self::AlterQuotas { .. }
            | Self::Token(_)
            | Self::UpdateFeatures { .. } => false,
        }
    }
}

/// Returns whether the key, of a topic or as the broker's default, decides what is deleted.
fn decides_what_goes(key: &str) -> bool {
    key.starts_with("retention.")
        || key.starts_with("log.retention.")
        || key == "cleanup.policy"
        || key == "log.cleanup.policy"
        || key == "sedge.retention.priority"
}

/// A topic by name or id.
#[derive(Clone, Debug, PartialEq)]
pub enum TopicName {
    Name(String),
    Id(KafkaUuid),
}

/// The result of a [`Command`].
#[derive(Clone, Debug, PartialEq)]
pub enum CommandReply {
    Done,
    Created {
        partitions: i32,
    },
    Deleted {
        name: String,
        id: KafkaUuid,
    },
    ProducerIds {
        first: ProducerId,
    },
    /// The result for each rule. A rule that existed already is `Ok`.
    AclsCreated(Vec<Result<(), CommandError>>),
    /// The removed rules that each filter matches.
    AclsDeleted(Vec<Vec<Arc<AclBinding>>>),
    /// The delegation token that was created.
    Token(Arc<Token>),
    TokenExpires {
        at_ms: i64,
    },
    /// For each change, its user and whether it is made.
    CredentialsAltered(Vec<(String, Result<(), CommandError>)>),
    /// For each entity, once, whether its quotas are changed.
    QuotasAltered(Vec<(QuotaEntity, Result<(), CommandError>)>),
}

/// Reason why a command is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandError {
    pub code: ErrorCode,
    pub message: String,
}

impl CommandError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
