//! Loads machine code. The host's only `unsafe` code.
#![allow(unsafe_code, reason = "machine code cannot be checked, only trusted")]

use wasmtime::{Engine, component::Component};

use crate::seal::Trusted;

/// Makes a component from machine code that this installation has sealed.
pub fn load(engine: &Engine, code: &Trusted<'_>) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that `Engine::precompile_component` made and that were
    // not changed since. A `Trusted` is only made of bytes in memory whose seal has just been found
    // to be this installation's own, and the installation seals only what its compiler process
    // answered or its operator imported. wasmtime itself checks version, settings, target and CPU
    // features.
    unsafe { Component::deserialize(engine, code.bytes()) }
}
