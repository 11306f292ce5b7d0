//! The bindings that `wit-bindgen` generates from `wit/` for a quota policy.
//!
//! `wit-bindgen` puts the macros that export a world at the root of the crate, so each world has a
//! crate of its own.
#![no_std]
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]

wit_bindgen::generate!({
    path: "wit",
    world: "quota-policy",
    pub_export_macro: true,
    default_bindings_module: "sedge_plugin_quota_bindings",
});
