//! Cuts the bytes of a connection into frames: a length, and as many bytes (the protocol guide's
//! "Network").

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;

use futures_lite::future::{self, poll_fn};
use futures_lite::{AsyncRead, AsyncReadExt};
use sedge_protocol::Bytes;
use sedge_protocol::frame::{self, OtherProtocol};

use super::activity::WatchedSocket;
use super::memory::{Admission, Closer, Part, Pool};
use super::service::Disconnect;
use super::spares::Spares;
use crate::limits::{CONNECTION_READ_BYTES, FRAME_BEGUN_BYTES, REQUEST_PIECE_BYTES};

/// The source of requests.
pub trait RequestSocket: AsyncRead + Unpin {
    /// Size of the buffer of a connection's first reads, and whether an idle connection keeps it.
    fn buffer(&self) -> (usize, Idle);
}

/// What happens to the buffer of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    KeepsBuffer,
    FreesBuffer,
}

thread_local! {
    /// The buffer that a connection of this thread freed last: under load, each request would
    /// allocate and zero one.
    static FREED: Cell<Box<[u8]>> = Cell::default();
}

impl RequestSocket for WatchedSocket<'_> {
    fn buffer(&self) -> (usize, Idle) {
        (CONNECTION_READ_BYTES, Idle::KeepsBuffer)
    }
}

/// Cuts the stream into frames. Allocates a frame only after its length is checked and admitted.
#[derive(Debug)]
pub struct FrameReader<R> {
    reader: R,
    /// The read buffer; empty while it is freed.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of a frame, and of one before authentication.
    bytes_max: (usize, usize),
    is_first: bool,
}

impl<R: RequestSocket> FrameReader<R> {
    pub fn new(reader: R, bytes_max: (usize, usize)) -> Self {
        Self {
            reader,
            buffer: Box::default(),
            start: 0,
            end: 0,
            bytes_max,
            is_first: true,
        }
    }

    /// Returns the length of the next frame, or `None` if the stream ends between frames.
    ///
    /// # Errors
    /// The length is negative or too large, the first bytes are of another protocol, or the stream
    /// fails or ends inside the length.
    pub async fn next_length(
        &mut self,
        is_authenticated: bool,
    ) -> Result<Option<usize>, Disconnect> {
        if self.start == self.end {
            if self.first_bytes().await? == 0 {
                return Ok(None);
            }
        } else if self.buffer.len() - self.start < 4 {
            self.move_to_front();
        }
        while self.end - self.start < 4 {
            let read = self.reader.read(&mut self.buffer[self.end..]).await?;
            if read == 0 {
                return Err(Disconnect::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.end += read;
        }
        let seen = &self.buffer[self.start..self.end];
        if self.is_first {
            match frame::other_protocol(seen) {
                Some(OtherProtocol::Tls) => return Err(Disconnect::TlsOnPlaintext),
                Some(OtherProtocol::Http) => return Err(Disconnect::Http),
                None => {}
            }
            self.is_first = false;
        }
        let length = i32::from_be_bytes(*seen.first_chunk().expect("four bytes were read"));
        let bytes_max = match self.bytes_max {
            (authenticated, _) if is_authenticated => authenticated,
            (_, before) => before,
        };
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= bytes_max)
            .ok_or(Disconnect::FrameLength {
                bytes: i64::from(length),
                bytes_max,
                is_authenticated,
            })?;
        self.start += 4;
        Ok(Some(bytes))
    }

    /// Reads into the empty buffer. Returns 0 at the end of the stream. While it waits, there may
    /// be no buffer.
    async fn first_bytes(&mut self) -> io::Result<usize> {
        let (size, idle) = self.reader.buffer();
        self.start = 0;
        self.end = poll_fn(|context| {
            if self.buffer.is_empty() {
                let freed = FREED.take();
                self.buffer = if freed.len() == size {
                    freed
                } else {
                    vec![0; size].into_boxed_slice()
                };
            }
            let read = Pin::new(&mut self.reader).poll_read(context, &mut self.buffer);
            if read.is_pending() && idle == Idle::FreesBuffer {
                FREED.set(std::mem::take(&mut self.buffer));
            }
            read
        })
        .await?;
        Ok(self.end)
    }

    fn move_to_front(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Waits for the first bytes of a frame ([`FRAME_BEGUN_BYTES`]). Memory is reserved for a frame
    /// only then: a length costs the sender nothing, so it must not reserve memory.
    ///
    /// # Errors
    /// The stream fails, or ends inside the frame.
    pub async fn begin(&mut self, bytes: usize) -> Result<(), Disconnect> {
        let first = bytes.min(FRAME_BEGUN_BYTES);
        if self.buffer.len() - self.start < first {
            self.move_to_front();
        }
        while self.end - self.start < first {
            let read = self.reader.read(&mut self.buffer[self.end..]).await?;
            if read == 0 {
                return Err(Disconnect::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.end += read;
        }
        Ok(())
    }

    /// Returns the API of the current frame; -1 if the frame is too short to tell.
    pub fn api_key(&self, bytes: usize) -> i16 {
        let begun = &self.buffer[self.start..self.end];
        let key = begun.first_chunk().filter(|key| key.len() <= bytes);
        key.map_or(-1, |key| i16::from_be_bytes(*key))
    }

    /// Returns the frame whose length was read last. Its bytes are charged as they come, until the
    /// last reference to any of them is dropped.
    ///
    /// # Errors
    /// The stream fails, or ends inside the frame.
    pub async fn frame(
        &mut self,
        bytes: usize,
        pool: &Arc<Pool>,
        closer: &Arc<Closer>,
    ) -> Result<Bytes, Disconnect> {
        let buffered = bytes.min(self.end - self.start);
        let size = (buffered < bytes).then(|| Spares::size(bytes)).flatten();
        let mut admission = if buffered == bytes {
            pool.take(bytes, Part::Any).await
        } else {
            let first = size.unwrap_or(REQUEST_PIECE_BYTES);
            let mut admission = pool.take(first, Part::AllButSmall).await;
            admission.depends_on(closer);
            admission
        };
        let mut memory = match size {
            Some(size) => pool.spares.take(size),
            // Memory that is not written to yet is not allocated by the kernel.
            None => Vec::with_capacity(bytes),
        };
        extend(&mut memory, buffered);
        memory[..buffered].copy_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        let mut filled = buffered;
        while filled < bytes {
            if filled == admission.bytes() {
                let piece = REQUEST_PIECE_BYTES.min(bytes - filled);
                admission.grow(piece).await;
            }
            let end = bytes.min(admission.bytes());
            extend(&mut memory, end);
            let piece = &mut memory[filled..end];
            filled += self.read_piece(piece, end == bytes).await?;
            if filled < bytes && filled == end {
                // A client that sends as fast as this reads must not have the thread for itself.
                future::yield_now().await;
            }
        }
        admission.settle();
        Ok(Bytes::from_owner(Admitted {
            memory,
            bytes,
            is_spare: size.is_some(),
            admission,
        }))
    }

    /// Reads a part of a piece of a frame. Behind the last piece, takes what has come of the next
    /// frames as well, as much as the buffer holds: one system call less for each request.
    async fn read_piece(&mut self, piece: &mut [u8], is_last: bool) -> Result<usize, Disconnect> {
        let bytes = piece.len();
        let read = if is_last {
            let mut parts = [IoSliceMut::new(piece), IoSliceMut::new(&mut self.buffer)];
            self.reader.read_vectored(&mut parts).await?
        } else {
            self.reader.read(piece).await?
        };
        if read == 0 {
            return Err(Disconnect::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.start = 0;
        self.end = read.saturating_sub(bytes);
        Ok(read.min(bytes))
    }
}

/// Appends zeroes until the memory has at least this length.
fn extend(memory: &mut Vec<u8>, len: usize) {
    memory.resize(len.max(memory.len()), 0);
}

/// A request, and its charge.
struct Admitted {
    memory: Vec<u8>,
    /// Those of the memory that are the request.
    bytes: usize,
    is_spare: bool,
    admission: Admission,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.bytes]
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.is_spare {
            let memory = std::mem::take(&mut self.memory);
            self.admission.pool().spares.put(memory);
        }
    }
}

const _: () = assert!(REQUEST_PIECE_BYTES > CONNECTION_READ_BYTES);

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use super::*;
    use futures_lite::future::block_on;
    use futures_lite::io::Cursor;

    const FRAME_MAX: usize = 300_000;

    fn frames_of(stream: Vec<u8>) -> Result<Vec<Vec<u8>>, Disconnect> {
        let freed = frames_with(stream.clone(), true);
        let kept = frames_with(stream, false);
        assert!(format!("{freed:?}") == format!("{kept:?}"));
        kept
    }

    /// A stream, and whether its buffer is freed while it is idle, which is each second time.
    struct Source(Cursor<Vec<u8>>, bool, usize);

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.2 += 1;
            if self.1 && self.2 % 2 == 1 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl RequestSocket for Source {
        fn buffer(&self) -> (usize, Idle) {
            if self.1 {
                (2 * CONNECTION_READ_BYTES, Idle::FreesBuffer)
            } else {
                (CONNECTION_READ_BYTES, Idle::KeepsBuffer)
            }
        }
    }

    fn frames_with(stream: Vec<u8>, frees: bool) -> Result<Vec<Vec<u8>>, Disconnect> {
        block_on(async {
            let pool = Pool::new(1 << 20);
            let source = Source(Cursor::new(stream), frees, 0);
            let mut frames = FrameReader::new(source, (FRAME_MAX, 0));
            let mut found = Vec::new();
            while let Some(bytes) = frames.next_length(true).await? {
                frames.begin(bytes).await?;
                let frame = frames.frame(bytes, &pool, &Arc::default()).await?;
                found.push(frame.to_vec());
            }
            Ok(found)
        })
    }

    fn framed(bytes: usize) -> Vec<u8> {
        let mut frame = (bytes as i32).to_be_bytes().to_vec();
        frame.extend((0..bytes).map(|at| at as u8));
        frame
    }

    #[test]
    fn frames_of_all_sizes_are_cut_where_they_end() {
        let sizes = [
            0, 1, 5, 8_180, 8_188, 8_189, 70_000, 3, 131_072, 131_073, 300_000, 1,
        ];
        let stream = sizes.iter().flat_map(|bytes| framed(*bytes)).collect();
        let found = frames_of(stream).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        for frame in found {
            assert!(frame.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        }
    }

    #[test]
    fn forged_lengths_are_refused_before_anything_is_allocated() {
        for length in [-1_i32, i32::MIN, i32::MAX, FRAME_MAX as i32 + 1] {
            let refused = frames_of(length.to_be_bytes().to_vec());
            assert!(
                matches!(refused, Err(Disconnect::FrameLength { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_frame_before_authentication_is_small() {
        let next_length = |bytes: i32, is_authenticated| {
            let stream = Cursor::new(bytes.to_be_bytes().to_vec());
            let mut frames = FrameReader::new(Source(stream, false, 0), (FRAME_MAX, 10));
            block_on(frames.next_length(is_authenticated))
        };
        assert!(matches!(next_length(10, false), Ok(Some(10))));
        assert!(matches!(next_length(11, true), Ok(Some(11))));
        let refused = next_length(11, false).unwrap_err().to_string();
        assert!(
            refused.contains("sasl.server.max.receive.size"),
            "{refused}"
        );
    }

    #[test]
    fn a_large_claim_takes_no_memory_before_its_bytes_come() {
        let mut stream = 90_000_i32.to_be_bytes().to_vec();
        stream.extend([0; 1024]);
        let begun = block_on(async {
            let source = Source(Cursor::new(stream), false, 0);
            let mut frames = FrameReader::new(source, (100_000, 0));
            let bytes = frames.next_length(true).await?.expect("a length");
            frames.begin(bytes).await
        });
        assert!(matches!(begun, Err(Disconnect::Io(_))), "{begun:?}");
    }

    #[test]
    fn a_truncated_frame_is_an_error_and_a_clean_end_is_not() {
        let mut stream = framed(10);
        assert_eq!(frames_of(stream.clone()).unwrap().len(), 1);
        stream.truncate(9);
        assert!(matches!(frames_of(stream), Err(Disconnect::Io(_))));
    }
}
