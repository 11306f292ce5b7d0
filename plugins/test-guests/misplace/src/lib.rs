//! A partitioner for the host's tests: its setting `answer` says which rule its answers break.
#![no_std]
use sedge_plugin_sdk::{
    String, Vec,
    partitioner_bindings::exports::sedge::plugin::{
        lifecycle,
        partitioner::{Guest, Needs},
    },
    vec,
};

static mut ANSWER: String = String::new();

struct Component;

impl lifecycle::Guest for Component {
    fn configure(config: Vec<(String, String)>) -> Result<(), String> {
        for (_, value) in config {
            // SAFETY: a component has one thread, and no other reference to the text exists.
            unsafe { ANSWER = value };
        }
        Ok(())
    }
}

impl Guest for Component {
    fn describe() -> Needs {
        Needs::all()
    }

    fn partition_batch(topic: String, partitions: u32, blob: Vec<u8>, spans: Vec<u8>) -> Vec<u32> {
        let records = spans.len() / 32;
        // SAFETY: a component has one thread, and it is not being configured now.
        match unsafe { &*core::ptr::addr_of!(ANSWER) }.as_str() {
            "few" => vec![0; records - 1],
            "many" => vec![0; records + 1],
            "outside" => vec![partitions; records],
            // The last 8 bytes of a span are its timestamp.
            "times" if spans.chunks(32).any(|span| span[24..] != [0; 8]) => panic!("a time"),
            "panic" => panic!("told to panic"),
            "loop" => loop {
                core::hint::black_box(0);
            },
            "flood" => vec![0; 64 << 20],
            _ => vec![(topic.len() + blob.len()) as u32 % partitions; records],
        }
    }
}

sedge_plugin_sdk::partitioner_bindings::export!(
    Component with_types_in sedge_plugin_sdk::partitioner_bindings
);
