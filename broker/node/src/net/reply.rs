//! Writes replies: parts in memory by vectored writes, parts in a segment by the kernel (splice or
//! sendfile), which takes them from the page cache without a copy.
//!
//! A pipe fills packets across the ends of commits (`pipes`). If TCP paces (BBR), the pieces go one
//! by one by sendfile. With TLS, they are read and encrypted in pieces of 64 KiB, or less if memory
//! is short (`tls`).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::{AsyncWrite, AsyncWriteExt, future};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sedge_storage::{Chunk, Placed};

use super::activity::WatchedSocket;
use super::pipes::{Lent, Piece, Pipes};
use crate::limits::TLS_TURN_BYTES;

/// A whole response frame, length and header included, in pieces.
pub type Frame = Vec<Chunk>;

/// Most pieces in one system call; further ones need further calls.
const PIECES_MAX: usize = 64;

/// The destination of replies.
pub trait ReplySocket: AsyncWrite + Unpin {
    /// Returns the socket if it sends bytes unchanged, so that the kernel can send from files.
    fn plain(&self) -> Option<&PlainSocket<'_>> {
        None
    }

    /// Returns the size of the pieces in which bytes of a segment are read and copied to the
    /// socket. `None` for a plain socket, to which the kernel sends them without a copy.
    fn piece_bytes(&self) -> Option<usize> {
        None
    }

    /// Sets the size of the pieces.
    fn set_piece_bytes(&mut self, _bytes: usize) {}
}

/// A connection without TLS.
#[derive(Debug)]
pub struct PlainSocket<'a> {
    socket: WatchedSocket<'a>,
    /// Pipes for filling packets across the ends of pieces. Without them each piece is sent at
    /// once, however small.
    pipes: Option<Arc<Pipes>>,
}

impl<'a> PlainSocket<'a> {
    pub fn new(socket: WatchedSocket<'a>, pipes: Option<Arc<Pipes>>) -> Self {
        Self { socket, pipes }
    }

    /// Lends a pipe for pieces across which packets may be filled.
    fn lend(&self) -> Option<Lent<'_>> {
        self.pipes.as_ref().and_then(|pipes| pipes.lend())
    }
}

impl ReplySocket for PlainSocket<'_> {
    fn plain(&self) -> Option<&PlainSocket<'_>> {
        Some(self)
    }
}

impl AsyncWrite for PlainSocket<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

/// Writes all of `frame`.
///
/// # Errors
/// The socket fails, or a segment cannot be read. Half of a frame may have been written then, and
/// the connection must be closed.
pub async fn write_frame(socket: &mut impl ReplySocket, frame: &[Chunk]) -> io::Result<()> {
    let (mut rest, mut turn) = (frame, Turn::default());
    while !rest.is_empty() {
        let in_memory: Vec<&[u8]> = rest.iter().map_while(in_memory).collect();
        let behind = &rest[in_memory.len()..];
        write_all_vectored(socket, &in_memory, !behind.is_empty()).await?;
        let places: Vec<&Placed> = behind.iter().map_while(placed).collect();
        rest = &behind[places.len()..];
        send_all(socket, &places, !rest.is_empty(), &mut turn).await?;
    }
    // Send encrypted bytes that TLS still buffers.
    socket.flush().await
}

fn in_memory(piece: &Chunk) -> Option<&[u8]> {
    match piece {
        Chunk::Read(bytes) => Some(bytes),
        Chunk::Placed(_) => None,
    }
}

fn placed(piece: &Chunk) -> Option<&Placed> {
    match piece {
        Chunk::Placed(placed) => Some(placed),
        Chunk::Read(_) => None,
    }
}

/// Sends pieces from segments; `more` says whether further data follows.
async fn send_all(
    socket: &mut impl ReplySocket,
    places: &[&Placed],
    more: bool,
    turn: &mut Turn,
) -> io::Result<()> {
    if (places.len() > 1 || more)
        && let Some(plain) = socket.plain()
        && let Some(pipe) = plain.lend()
        && let Some(pieces) = places
            .iter()
            .map(|place| piece_of(place))
            .collect::<Option<_>>()
    {
        return send_through(pipe, &plain.socket, pieces, more).await;
    }
    if let Some(bytes_max) = socket.piece_bytes() {
        return copy_all(socket, places, bytes_max, turn).await;
    }
    for placed in places {
        send(socket, placed).await?;
    }
    Ok(())
}

fn piece_of(placed: &Placed) -> Option<Piece<'_>> {
    let (file, position) = placed.file()?;
    Some(Piece {
        file,
        position,
        bytes: placed.bytes(),
    })
}

async fn send_through(
    mut pipe: Lent<'_>,
    socket: &WatchedSocket<'_>,
    mut pieces: VecDeque<Piece<'_>>,
    more: bool,
) -> io::Result<()> {
    while !pieces.is_empty() {
        pipe.fill(&mut pieces)?;
        let more = more || !pieces.is_empty();
        while pipe.held() > 0 {
            socket.write_with(|to| pipe.empty_into(to, more)).await?;
        }
    }
    Ok(())
}

/// Copies pieces of segments to a socket that cannot send from files (TLS), `bytes_max` at a time,
/// across the ends of pieces.
async fn copy_all(
    socket: &mut impl ReplySocket,
    places: &[&Placed],
    bytes_max: usize,
    turn: &mut Turn,
) -> io::Result<()> {
    let bytes: usize = places.iter().map(|placed| placed.bytes()).sum();
    let mut buffer = vec![0; bytes_max.min(bytes)];
    let mut filled = 0;
    for placed in places {
        let Some(piece) = piece_of(placed) else {
            socket.write_all(&buffer[..filled]).await?;
            filled = 0;
            send(socket, placed).await?;
            continue;
        };
        let end = piece.position + piece.bytes as u64;
        let mut at = piece.position;
        while at < end {
            let wanted = (buffer.len() - filled).min((end - at) as usize);
            let into = &mut buffer[filled..filled + wanted];
            let read = rustix::io::pread(piece.file, into, at)?;
            if read == 0 {
                return Err(cut());
            }
            at += read as u64;
            filled += read;
            if filled == buffer.len() {
                socket.write_all(&buffer).await?;
                turn.took(filled).await;
                filled = 0;
            }
        }
    }
    socket.write_all(&buffer[..filled]).await?;
    turn.took(filled).await;
    Ok(())
}

/// The turn of an answer on its thread. A client that takes bytes as fast as they are encrypted
/// must not have the thread for itself.
#[derive(Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    /// Notes bytes that were encrypted. Lets others have the thread when the turn is over.
    async fn took(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= TLS_TURN_BYTES {
            self.bytes = 0;
            future::yield_now().await;
        }
    }
}

fn cut() -> io::Error {
    // The segment was long enough when it was located. The next fetch notices that it was cut.
    log::error!(target: "sedge::log", "a segment was cut while its bytes were being sent");
    io::ErrorKind::UnexpectedEof.into()
}

async fn send(socket: &mut impl ReplySocket, placed: &Placed) -> io::Result<()> {
    let (Some(plain), Some(piece)) = (socket.plain(), piece_of(placed)) else {
        let placed = placed.clone();
        let bytes = blocking::unblock(move || placed.read())
            .await
            .map_err(io::Error::other)?;
        return socket.write_all(&bytes).await;
    };
    let end = piece.position + piece.bytes as u64;
    let mut at = piece.position;
    while at < end {
        let sent = plain
            .socket
            .write_with(|to| {
                let left = (end - at) as usize;
                Ok(rustix::fs::sendfile(to, piece.file, Some(&mut at), left)?)
            })
            .await?;
        if sent == 0 {
            return Err(cut());
        }
    }
    Ok(())
}

async fn write_all_vectored(
    socket: &mut impl ReplySocket,
    pieces: &[&[u8]],
    more: bool,
) -> io::Result<()> {
    let mut piece = 0;
    let mut within = 0;
    while piece < pieces.len() {
        let slices: Vec<IoSlice<'_>> = pieces[piece..]
            .iter()
            .take(PIECES_MAX)
            .enumerate()
            .map(|(at, bytes)| IoSlice::new(&bytes[if at == 0 { within } else { 0 }..]))
            .collect();
        let mut written = write_some(socket, &slices, more).await?;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while piece < pieces.len() && written >= pieces[piece].len() - within {
            written -= pieces[piece].len() - within;
            piece += 1;
            within = 0;
        }
        within += written;
    }
    Ok(())
}

async fn write_some(
    socket: &mut impl ReplySocket,
    slices: &[IoSlice<'_>],
    more: bool,
) -> io::Result<usize> {
    if more
        && let Some(plain) = socket.plain()
        && plain.pipes.is_some()
    {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let send = |to: &TcpStream| {
            let nothing = &mut SendAncillaryBuffer::default();
            Ok(sendmsg(to, slices, nothing, flags)?)
        };
        return plain.socket.write_with(send).await;
    }
    match slices {
        [one] => socket.write(one).await,
        many => socket.write_vectored(many).await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use async_io::Async;
    use futures_lite::AsyncReadExt;
    use futures_lite::future::{self, block_on};
    use sedge_protocol::Bytes;
    use sedge_protocol::ids::{Offset, PartitionId};
    use sedge_protocol::parts::frame_bytes;
    use sedge_protocol::records::{BatchBuilder, Compression};
    use sedge_storage::{Commit, Entry, LogStore, NoViews, Options, ReadLimits, Store, Wait};

    use super::super::activity::Activity;
    use super::*;
    use crate::limits::TLS_PIECE_BYTES_MAX;

    /// Accepts a few bytes at a time and cannot send from files, like TLS.
    struct Trickle {
        taken: Vec<u8>,
        bytes_max: usize,
        piece_bytes: Option<usize>,
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.bytes_max);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl ReplySocket for Trickle {
        fn piece_bytes(&self) -> Option<usize> {
            self.piece_bytes
        }
    }

    /// A log on disk that is removed on drop.
    struct Log {
        directory: PathBuf,
        store: Store,
    }

    impl Log {
        fn new(name: &str) -> Self {
            let name = format!("sedge-reply-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            let options = Options::default();
            let (store, _) = sedge_storage::open(&directory, options, &mut NoViews).unwrap();
            Self { directory, store }
        }

        /// Writes twenty commits of 20 kB, and returns their places.
        fn filled(&self) -> Vec<Chunk> {
            let partition = PartitionId(1);
            for offset in 0..20 {
                let mut builder = BatchBuilder::new(Compression::None);
                let value = vec![offset as u8; 20_000];
                builder.push(offset, None, Some(&value), &[]);
                let mut batch = builder.build().unwrap();
                batch.header.set_base_offset(Offset(offset));
                let commit = Commit {
                    entries: vec![Entry::Append {
                        partition,
                        batches: vec![batch],
                    }],
                    ..Commit::default()
                };
                self.store.append(commit).unwrap();
            }
            self.store
                .locate(
                    partition,
                    Offset(0),
                    Offset(20),
                    ReadLimits::of(1 << 20),
                    Wait::ForDisk,
                )
                .unwrap()
                .chunks
        }
    }

    impl Drop for Log {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    fn piece(text: &'static [u8]) -> Chunk {
        Bytes::from_static(text).into()
    }

    fn whole(frame: &[Chunk]) -> Vec<u8> {
        let read = |piece: &Chunk| piece.clone().read().unwrap();
        frame.iter().map(read).collect::<Vec<Bytes>>().concat()
    }

    #[test]
    fn all_pieces_are_written_however_little_the_socket_takes() {
        let log = Log::new("trickle");
        let mut frame = vec![piece(b"hello"), piece(b""), piece(b" "), piece(b"world")];
        frame.extend(log.filled());
        frame.push(piece(b"!"));
        // The last size is larger than a commit.
        for piece_bytes in [None, Some(1), Some(8_192), Some(1 << 20)] {
            let mut trickle = Trickle {
                taken: Vec::new(),
                bytes_max: 3,
                piece_bytes,
            };
            block_on(write_frame(&mut trickle, &frame)).unwrap();
            assert!(trickle.taken == whole(&frame), "{piece_bytes:?}");
        }
    }

    #[test]
    fn a_client_that_takes_all_at_once_over_tls_leaves_the_thread_to_others() {
        let log = Log::new("turns");
        let frame = vec![log.filled(); 3].concat();
        let mut eager = Trickle {
            taken: Vec::new(),
            bytes_max: usize::MAX,
            piece_bytes: Some(TLS_PIECE_BYTES_MAX),
        };
        let mut turns = 1;
        let mut write = Box::pin(write_frame(&mut eager, &frame));
        while block_on(future::poll_once(&mut write)).is_none() {
            turns += 1;
        }
        drop(write);
        let bytes = frame_bytes(&frame);
        let least = bytes / (TLS_TURN_BYTES + TLS_PIECE_BYTES_MAX);
        assert!(turns > least, "{turns} turns for {bytes} bytes");
        assert!(eager.taken == whole(&frame));
    }

    #[test]
    fn what_lies_in_a_segment_reaches_the_client_between_what_is_in_memory() {
        let log = Log::new("socket");
        let mut frame = vec![piece(b"before")];
        frame.extend(log.filled());
        frame.push(piece(b"after"));
        let placed = frame
            .iter()
            .filter(|piece| matches!(piece, Chunk::Placed(_)))
            .count();
        assert!(
            placed >= 15,
            "{placed} of 20 commits are sent from where they are"
        );

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = block_on(Async::<TcpStream>::connect(address)).unwrap();
        let server = Async::new(listener.accept().unwrap().0).unwrap();
        let activity = Activity::default();
        for pipes in [None, Some(Arc::default())] {
            let watched = WatchedSocket::new(&server, &activity);
            let mut socket = PlainSocket::new(watched, pipes);
            let mut received = vec![0; frame_bytes(&frame)];
            let write = write_frame(&mut socket, &frame);
            let (written, read) = block_on(future::zip(write, (&client).read_exact(&mut received)));
            written.unwrap();
            read.unwrap();
            assert!(received == whole(&frame));
        }
    }

    #[test]
    fn a_reader_that_left_is_an_error() {
        let log = Log::new("gone");
        let frame = log.filled();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(TcpStream::connect(address).unwrap());
        let server = Async::new(listener.accept().unwrap().0).unwrap();
        let activity = Activity::default();
        for pipes in [None, Some(Arc::default())] {
            let watched = WatchedSocket::new(&server, &activity);
            let mut socket = PlainSocket::new(watched, pipes);
            let frames = std::iter::repeat_n(&frame, 100);
            let outcome = frames
                .map(|frame| block_on(write_frame(&mut socket, frame)))
                .find(Result::is_err);
            assert!(outcome.is_some());
        }
    }
}
