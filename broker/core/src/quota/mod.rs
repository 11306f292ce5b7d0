//! Client quotas: who may use how much (KIP-13, KIP-55, KIP-124, KIP-546, KIP-599, KIP-612).
//!
//! [`Quotas`] is the configuration, a part of the metadata image. [`Meters`] measures what clients
//! use and decides by it; it is one [`QuotaPolicy`].
//!
//! | module | contents |
//! | --- | --- |
//! | `entity` | whom a quota is for, and the keys of quotas |
//! | `table` | all quotas, and which of them is in force for a client |
//! | `filter` | the filter of DescribeClientQuotas |
//! | `bucket` | credit that grows with time |
//! | `policy` | the interface of everything that decides about a client's use |
//! | `meters` | the policy of the configured quotas |

mod bucket;
mod entity;
mod filter;
pub mod limits;
mod meters;
mod policy;
mod table;

pub use bucket::Bucket;
pub use entity::{Entity, Invalid, Key, Name};
pub use filter::Filter;
pub use meters::{Meters, Windows};
pub use policy::{Client, QuotaPolicy, Usage, Verdict};
pub use table::{Limits, Quotas, Scope};

#[cfg(test)]
pub(crate) use table::tests::random_entity;
