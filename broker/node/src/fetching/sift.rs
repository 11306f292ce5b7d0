//! Runs what was read for a consumer through the fetch filters of its topics.

use std::mem;
use std::time::Instant;

use async_io::Timer;
use sedge_protocol::{Bytes, ErrorCode};
use sedge_storage::Chunk;

use super::Source;
use super::wait::Fetched;
use crate::limits::{FETCH_SIFT_TIME_MAX, WITHHELD_WAIT_MAX};
use crate::plugins::{Origin, Plugins, Reading};

/// Replaces the batches of filtered partitions by what their filters leave for this consumer. If
/// that takes long, the answer has the batches so far; the next fetch continues. If the filters
/// withhold everything, returns at `deadline`: clients that get an error ask again at once.
pub async fn sift(
    source: &Source<'_>,
    plugins: &Plugins,
    origin: &Origin,
    deadline: Instant,
    fetched: &mut Fetched,
) {
    let until = Instant::now() + FETCH_SIFT_TIME_MAX;
    let pool = source.memory;
    let (mut has_any, mut is_withheld) = (false, false);
    for read in &mut fetched.reads {
        if let Some(topic) = read.filtered_by.take().filter(|_| !read.chunks.is_empty()) {
            if has_any && Instant::now() >= until {
                read.chunks.clear();
                continue;
            }
            let batches = mem::take(&mut read.chunks).into_iter().map(in_memory);
            let batches: Vec<Bytes> = batches.collect();
            let mut memory = mem::replace(&mut fetched.memory, pool.begin());
            // The first batch may be larger than the share of memory that it was read into.
            let bytes = batches.iter().map(Bytes::len).sum();
            memory.set(memory.bytes().max(bytes));
            let reading = Reading {
                index: read.wanted.partition,
                origin: origin.clone(),
                on_error: topic.config.on_fetch_filter_error(),
                until,
                topic,
            };
            let (sifted, memory) = plugins
                .sift(&source.log.metadata, &reading, batches, pool, memory)
                .await;
            fetched.memory = memory;
            match sifted.into_batches() {
                Ok(batches) => read.chunks = batches.into_iter().map(Chunk::Read).collect(),
                Err(error) => {
                    read.refuse(match error.code {
                        // A batch that cannot be read stays so: the consumer must know.
                        ErrorCode::InvalidRecord => ErrorCode::CorruptMessage,
                        // The code with which all clients ask again without an error of their own.
                        _ => ErrorCode::OffsetNotAvailable,
                    });
                    is_withheld = true;
                }
            }
        }
        has_any |= !read.chunks.is_empty();
    }
    if is_withheld && !has_any {
        fetched.memory.set(0);
        Timer::at(deadline.min(Instant::now() + WITHHELD_WAIT_MAX)).await;
    }
}

fn in_memory(chunk: Chunk) -> Bytes {
    match chunk {
        Chunk::Read(bytes) => bytes,
        Chunk::Placed(_) => unreachable!("ReadLimits::takes_places was false"),
    }
}
