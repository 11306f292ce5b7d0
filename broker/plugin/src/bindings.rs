//! The bindings that wasmtime generates from `wit/`, a module for each world. The worlds share the
//! interfaces that they import, so that one `State` serves them all.
#![allow(missing_debug_implementations, reason = "generated")]
#![allow(clippy::pedantic, reason = "generated")]

pub mod filter {
    // `state_link.rs` links `state` by hand.
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "stateless-record-filter",
    });

    pub use StatelessRecordFilter as RecordFilter;
    pub use StatelessRecordFilterPre as RecordFilterPre;
}

pub mod partitioner {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "key-partitioner",
        with: { "sedge:plugin/log": super::filter::sedge::plugin::log },
    });
}

pub mod quota {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "quota-policy",
        // A request is told in strings, which are not worth a copy.
        ownership: Borrowing { duplicate_if_necessary: false },
        with: {
            "sedge:plugin/log": super::filter::sedge::plugin::log,
            "sedge:plugin/metrics": super::filter::sedge::plugin::metrics,
        },
    });
}
