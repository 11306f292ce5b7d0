//! The WebAssembly host: everything of wasmtime is behind this crate, which is built for speed.
//!
//! What it is: an [`Engine`]; components made ready as a [`Plugin`], which is a [`FilterFactory`];
//! [`FilterInstance`]s that a batch's records go through as a [`RecordBlob`] and come out of as an
//! [`Outcome`]; machine code made, sealed and kept ([`CodeCache`]); guests built ([`guest`], with
//! the feature `build`). Where another world goes is in `plugin.rs`.
//!
//! What it is not: it knows nothing of topics, batches on the wire or what follows a failure; the
//! node composes it.
//!
//! **Invariants**
//! - A plugin has a deadline, a memory limit and an output limit for each call, and imports `log`
//!   and nothing else.
//! - Everything a plugin answers has been checked before anybody sees it.
//! - An instance that failed is never called again.
//! - Machine code is loaded only under this installation's own seal ([`seal`]).
//! - The public interface is not generic: wasmtime's copying is compiled here, where it is
//!   optimised, and not in a crate that is built for size (25 times slower).
//!
//! Calls block, and run on the caller's stack, of which a thread needs
//! [`limits::WASM_STACK_BYTES_MAX`] twice over.

pub mod artifact;
mod bindings;
mod code_cache;
mod compile;
mod component;
mod config;
mod engine;
pub mod error;
mod filter;
#[cfg(feature = "build")]
pub mod guest;
mod host;
mod key;
pub mod limits;
mod native;
mod outcome;
mod plugin;
mod records;
pub mod seal;
mod ticker;

pub use artifact::Artifact;
pub use code_cache::CodeCache;
pub use compile::compile_in_child;
#[cfg(feature = "jit")]
pub use compile::{compile_ahead, compile_for_parent};
pub use component::{ComponentHash, inspect};
pub use config::{host_target, target_family};
pub use engine::Engine;
pub use error::{BadOutput, CallError, EngineError, Error};
pub use filter::{BatchInfo, FilterFactory, FilterInstance, FilterStage};
pub use key::{SEAL_BYTES, SealKey, Sealer};
pub use limits::Limits;
pub use outcome::{Field, Outcome, Verdict};
pub use plugin::Plugin;
pub use records::{Needs, RecordBlob, TooLarge};
