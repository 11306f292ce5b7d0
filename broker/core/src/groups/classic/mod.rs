//! Groups of the classic protocol: members join, a leader among them assigns, and every change of
//! the membership is a rebalance of all (JoinGroup, SyncGroup, Heartbeat, LeaveGroup).
//!
//! | module | what |
//! | --- | --- |
//! | `group` | members and state of one group |
//! | `join` | JoinGroup |
//! | `sync` | SyncGroup, Heartbeat, LeaveGroup |
//! | `rebalance` | preparing, completing, stable |
//! | `tick` | sessions and timers that are over |
//! | `commits` | who may commit and delete offsets, and how they age |
//! | `admin` | a group as administrators see it |

mod admin;
mod commits;
mod group;
mod join;
mod rebalance;
mod sync;
mod tick;

pub use group::{ClassicGroup, GroupState, Member};
pub use join::{Joining, check_request};
