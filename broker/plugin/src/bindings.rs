//! The bindings that wasmtime generates from `wit/`.
#![allow(missing_debug_implementations, reason = "generated")]
#![allow(clippy::pedantic, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "record-filter",
});
