//! Client quotas: limits on what clients use (KIP-13, KIP-55, KIP-124, KIP-546, KIP-599, KIP-612).
//!
//! [`Quotas`] is the configuration, a part of the metadata image. [`Meters`], a [`QuotaPolicy`],
//! measures each client's use and decides whether to throttle the client. A plugin may decide about
//! each produce and fetch as well: [`Grant::bounded`] bounds its answer, and a [`Breaker`] says
//! when the plugin is asked.
//!
//! **Invariant:** the quota in force for a client is the first in Kafka's order (`table`).
//!
//! | module | contents |
//! | --- | --- |
//! | `entity` | the entities that quotas are set for, and the keys of quotas |
//! | `table` | all quotas, and which of them is in force for a client |
//! | `filter` | the filter of DescribeClientQuotas |
//! | `bucket` | credit that grows with time |
//! | `breaker` | when a policy that can fail is asked |
//! | `policy` | the trait of policies, which decide about each use |
//! | `meters` | the policy of the configured quotas |

mod breaker;
mod bucket;
mod entity;
mod filter;
pub mod limits;
mod meters;
mod policy;
mod table;

pub use breaker::Breaker;
pub use bucket::Bucket;
pub use entity::{Entity, Invalid, Key, Name};
pub use filter::Filter;
pub use meters::{Meters, Windows};
pub use policy::{Client, Grant, QuotaPolicy, Usage, Verdict};
pub use table::{Limits, Quotas, Scope};

#[cfg(test)]
pub(crate) use table::tests::random_entity;
