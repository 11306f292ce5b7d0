//! The WebAssembly host: all of wasmtime is behind this crate, which is built for speed.
//!
//! The crate contains: an [`Engine`]; components prepared as a [`Plugin`] of one of the worlds;
//! [`FilterInstance`]s, which take a batch's records as a [`RecordBlob`] and return an [`Outcome`];
//! [`PartitionerInstance`]s, which choose a partition for each record; [`QuotaInstance`]s, which
//! decide about requests; a cache that makes, seals and stores machine code ([`CodeCache`]); and
//! building of guests ([`guest`], with the feature `build`). `plugin.rs` says where to add another
//! world.
//!
//! A filter that imports `state` has a [`StateTable`] for each partition, which the caller gives to
//! the call, and whose changes the caller writes or undoes.
//!
//! The crate knows nothing of topics, of batches on the wire or of what follows a failure; the node
//! combines it with those.
//!
//! **Invariants**
//! - A plugin has a deadline, a memory limit and an output limit for each call, and imports only
//!   what its world may ([`World`]).
//! - All of a plugin's answer has been checked before a caller sees it.
//! - An instance that failed is never called again.
//! - Machine code is loaded only under this installation's own seal ([`seal`]).
//! - The public interface is not generic: wasmtime's copying is compiled here, where it is
//!   optimised, and not in a crate that is built for size (25 times slower).
//!
//! Calls block, and run on the caller's stack: the thread needs twice
//! [`limits::WASM_STACK_BYTES_MAX`].

pub mod artifact;
mod bindings;
mod call_time;
mod code_cache;
mod compile;
mod component;
mod config;
mod engine;
pub mod error;
mod factory;
mod filter;
#[cfg(feature = "build")]
pub mod guest;
mod host;
mod journal;
mod key;
pub mod limits;
mod meter;
mod native;
mod outcome;
mod partitioner;
mod plugin;
mod pool;
mod quota;
mod records;
mod sched;
pub mod seal;
mod state;
mod state_link;
mod state_value;
mod ticker;
#[cfg(test)]
mod vectors;
mod world;

pub use artifact::{Artifact, inspect_deployed};
pub use code_cache::CodeCache;
pub use compile::compile_in_child;
#[cfg(feature = "jit")]
pub use compile::{compile_ahead, compile_for_parent};
pub use component::{ComponentHash, Outline, inspect};
pub use config::{host_target, target_family};
pub use engine::Engine;
pub use error::{BadOutput, CallError, EngineError, Error};
pub use filter::{BatchInfo, FilterFactory, FilterInstance, FilterStage, Origin};
pub use host::Usage;
pub use journal::Journal;
pub use key::{SEAL_BYTES, SealKey, Sealer};
pub use limits::Limits;
pub use meter::{Meter, TooManyMetrics, Unmetered};
pub use outcome::{Field, Outcome, Verdict};
pub use partitioner::{PartitionerFactory, PartitionerInstance};
pub use plugin::Plugin;
pub use pool::MemoryPool;
pub use quota::{Grant, QuotaFactory, QuotaInstance, QuotaOperation, QuotaRequest};
pub use records::{Needs, RecordBlob, TooLarge};
pub use state::{StateBudget, StateRefusal, StateTable};
pub use world::World;
