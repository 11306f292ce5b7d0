//! Fuzzes the metrics that clients push, after they were decompressed (KIP-714).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_fuzz::bounded;
use sedge_protocol::{limits::OTLP_POINTS_MAX, otlp::each_point};

fuzz_target!(|input: &[u8]| {
    bounded(input, 2, |input| {
        let mut points = 0;
        let read = each_point(input, &mut |point| {
            points += 1;
            assert!(
                input.as_ptr_range().contains(&point.metric.as_ptr()) || point.metric.is_empty()
            );
        });
        assert!(points <= OTLP_POINTS_MAX, "{points} numbers: {read:?}");
    });
});
