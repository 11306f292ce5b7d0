//! Loads machine code. The only `unsafe` of the host.
#![allow(unsafe_code, reason = "machine code cannot be checked, only trusted")]

use wasmtime::{Engine, component::Component};

use crate::seal::Trusted;

/// Makes a component of machine code that this installation has sealed.
pub fn load(engine: &Engine, code: &Trusted<'_>) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` asks for bytes that `Engine::precompile_component` made and nobody
    // changed. A `Trusted` is only made of bytes in memory whose seal has just been found to be
    // this installation's own, and it seals only what its compiler process answered or its operator
    // imported. wasmtime itself checks version, settings, target and CPU features.
    unsafe { Component::deserialize(engine, code.bytes()) }
}
