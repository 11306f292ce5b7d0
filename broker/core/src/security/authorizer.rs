//! The authorizer: decides whether a client may perform an operation, as Kafka's
//! `StandardAuthorizer` does.

use alloc::collections::BTreeSet;
use core::net::IpAddr;

use super::rules::Acls;
use super::{Operation, Principal, Resource};

/// The configuration of the authorizer: `super.users` and `allow.everyone.if.no.acl.found`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorizer {
    pub super_users: BTreeSet<Principal>,
    /// Whether every operation is allowed on a resource without rules.
    pub allow_everyone_if_no_acl_found: bool,
}

/// The client that requests an operation.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
}

/// A decision, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    SuperUser,
    /// A rule allows the operation, and no rule denies it.
    Allowed,
    /// A rule denies the operation.
    Denied,
    /// The resource has rules, but no rule allows the operation.
    NotAllowed,
    /// The resource has no rules. The value is `allow_everyone_if_no_acl_found`.
    NoRule(bool),
}

impl Verdict {
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::SuperUser | Self::Allowed | Self::NoRule(true))
    }
}

impl Authorizer {
    /// Returns whether `subject` may perform `operation` on the resource with this name.
    ///
    /// In Kafka, rules for the literal name `*` do not apply to a resource whose own name begins
    /// with `*`, even if they deny. Here they apply to every name.
    #[must_use]
    pub fn authorize(
        &self,
        acls: &Acls,
        subject: Subject<'_>,
        operation: Operation,
        resource: Resource,
        name: &str,
    ) -> Verdict {
        if self.super_users.contains(subject.principal) {
            return Verdict::SuperUser;
        }
        let found = acls.find(resource, name, subject.principal.as_str(), subject.host);
        if found.sets.denied & (operation.bit() | Operation::All.bit()) != 0 {
            Verdict::Denied
        } else if found.sets.allowed & (operation.allowed_by() | Operation::All.bit()) != 0 {
            Verdict::Allowed
        } else if found.any {
            Verdict::NotAllowed
        } else {
            Verdict::NoRule(self.allow_everyone_if_no_acl_found)
        }
    }

    /// Returns whether `subject` may perform `operation` on at least one possible resource of this
    /// type.
    #[must_use]
    pub fn authorize_by_resource_type(
        &self,
        acls: &Acls,
        subject: Subject<'_>,
        operation: Operation,
        resource: Resource,
    ) -> bool {
        // Kafka's Authorizer.authorizeByResourceType first checks a resource with this name. The
        // check covers super users and `allow.everyone.if.no.acl.found`.
        self.authorize(acls, subject, operation, resource, "hardcode")
            .is_allowed()
            || acls.allows_on_any(
                resource,
                operation,
                subject.principal.as_str(),
                subject.host,
            )
    }
}
