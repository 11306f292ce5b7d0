//! Feeds the frame reader in pieces of any size. It cuts the same frames as this file does, or
//! refuses the connection where this file does.
#![no_main]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::AsyncRead;
use futures_lite::future::block_on;
use libfuzzer_sys::fuzz_target;
use sedge::net::frames::{FrameReader, Idle, RequestSocket};
use sedge::net::memory::Pool;
use sedge::net::service::Disconnect;
use sedge_fuzz::bounded;

/// Of a frame, and of one before authentication.
const BYTES_MAX: (usize, usize) = (20_000, 100);
/// Less than two frames of this size, so that they wait for each other.
const MEMORY_BYTES: usize = 30_000;

/// A client that sends its bytes in pieces. A size of zero is a pause.
struct Client<'a> {
    pieces: &'a [u8],
    at: usize,
    rest: &'a [u8],
    frees: bool,
}

impl Client<'_> {
    fn next_piece(&mut self) -> usize {
        let size = match self.pieces {
            [] => 255,
            pieces => pieces[self.at % pieces.len()],
        };
        self.at += 1;
        // Large pieces have many frames, small ones a part of a length.
        match size {
            0..=127 => usize::from(size),
            _ => usize::from(size) << 6,
        }
    }
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let size = self.next_piece();
        if size == 0 && self.at % 2 == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bytes = size.max(1).min(self.rest.len()).min(buffer.len());
        let (piece, rest) = self.rest.split_at(bytes);
        buffer[..bytes].copy_from_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(bytes))
    }
}

impl RequestSocket for Client<'_> {
    fn buffer(&self) -> (usize, Idle) {
        if self.frees {
            (16 << 10, Idle::FreesBuffer)
        } else {
            (8 << 10, Idle::KeepsBuffer)
        }
    }
}

/// Reads all frames. Returns them, and whether the stream ended between two.
fn read(client: Client<'_>, logs_in: bool) -> (Vec<Vec<u8>>, bool) {
    let pool = Pool::new(MEMORY_BYTES);
    let mut frames = FrameReader::new(client, BYTES_MAX);
    let mut found = Vec::new();
    let outcome: Result<(), Disconnect> = block_on(async {
        // The first frame logs the client in.
        while let Some(bytes) = frames.next_length(logs_in || !found.is_empty()).await? {
            frames.begin(bytes).await?;
            let api_key = frames.api_key(bytes);
            let frame = frames.frame(bytes, &pool, &Arc::default()).await?;
            match frame.first_chunk() {
                Some(key) => assert_eq!(api_key, i16::from_be_bytes(*key)),
                None => assert_eq!(api_key, -1),
            }
            assert!(pool.used_bytes() <= MEMORY_BYTES);
            found.push(frame.to_vec());
        }
        Ok(())
    });
    assert_eq!(pool.used_bytes(), 0, "memory is given back");
    (found, outcome.is_ok())
}

/// Cuts a whole stream, without its first length's check for other protocols.
fn cut(mut stream: &[u8], logs_in: bool) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let bytes_max = if logs_in || !found.is_empty() {
            BYTES_MAX.0
        } else {
            BYTES_MAX.1
        };
        let length = usize::try_from(i32::from_be_bytes(*length));
        let length = length.ok().filter(|bytes| *bytes <= bytes_max);
        let Some((frame, rest)) = length.and_then(|bytes| rest.split_at_checked(bytes)) else {
            return (found, false);
        };
        found.push(frame.to_vec());
        stream = rest;
    }
    (found, stream.is_empty())
}

fuzz_target!(|input: &[u8]| {
    bounded(input, 8, |input| {
        let [flags, count, rest @ ..] = input else {
            return;
        };
        let (pieces, stream) = rest.split_at(usize::from(*count).min(rest.len()));
        let logs_in = flags & 1 == 0;
        let expected = cut(stream, logs_in);
        let client = Client {
            pieces,
            at: 0,
            rest: stream,
            frees: flags & 2 == 0,
        };
        let found = read(client, logs_in);
        if found != expected {
            // The first bytes are those of TLS or HTTP: their lengths are too large for Kafka's.
            assert!(found.0.is_empty() && !found.1, "{found:?}");
            assert!(!expected.1, "{expected:?}");
        }
    });
});
