//! Whether a client may do something: Kafka's `StandardAuthorizer`.

use alloc::collections::BTreeSet;
use core::net::IpAddr;

use super::rules::Acls;
use super::{Operation, Principal, Resource};

/// `super.users` and `allow.everyone.if.no.acl.found`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorizer {
    pub super_users: BTreeSet<Principal>,
    /// Whether anything is allowed on a resource that no rule is for.
    pub allow_everyone_if_no_acl_found: bool,
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
}

/// An answer, and what it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    SuperUser,
    /// A rule allows it, and none denies it.
    Allowed,
    /// A rule denies it.
    Denied,
    /// There are rules for the resource, and none allows it.
    NotAllowed,
    /// There is no rule for the resource; whether that allows it.
    NoRule(bool),
}

impl Verdict {
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::SuperUser | Self::Allowed | Self::NoRule(true))
    }
}

impl Authorizer {
    /// Returns whether `subject` may do `operation` on the resource called `name`.
    ///
    /// Kafka's own scan passes over the rules of `*` for a resource whose name begins with `*`,
    /// also those that deny. Here they hold for each name.
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

    /// Returns whether there may be a resource of this type on which `subject` may do `operation`.
    #[must_use]
    pub fn authorize_by_resource_type(
        &self,
        acls: &Acls,
        subject: Subject<'_>,
        operation: Operation,
        resource: Resource,
    ) -> bool {
        // Authorizer.authorizeByResourceType asks for a resource of this name first: it finds super
        // users, and what is allowed if there is no rule.
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
