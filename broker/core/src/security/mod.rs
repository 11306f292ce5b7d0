//! Authentication and access control: users and SASL, principals, operations on resources, access
//! rules (ACLs), and the authorizer.
//!
//! The semantics are those of Kafka's `StandardAuthorizer`. Numbers and names are Kafka's too
//! (`AclOperation`, `ResourceType`, `PatternType`, `AclPermissionType`).
//!
//! Access rules are records of `__cluster_metadata`. The metadata image has them in an index by
//! resource type, name and principal (`rules`).

pub mod acl;
mod authorizer;
mod denials;
mod filter;
pub mod jaas;
pub mod limits;
pub mod oauth;
mod operation;
mod principal;
mod rules;
pub mod sasl;
pub mod scram;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;
mod users;

pub use acl::{AclBinding, Host, PatternType, Permission};
pub use authorizer::{Authorizer, Subject, Verdict};
pub use denials::{Denials, Told};
pub use filter::{AclFilter, PatternFilter};
pub use operation::{OPERATIONS_NOT_ASKED, Operation, Resource, bits};
pub use principal::Principal;
pub use rules::Acls;
pub use tokens::{Token, TokenLifetimes, Tokens};
pub use users::Users;
