//! Writing a reply: what is in memory by vectored writes, what lies in a segment by the kernel
//! (sendfile), which takes it from the page cache without a copy.

use std::io::{self, IoSlice};
use std::net::TcpStream;

use async_io::Async;
use futures_lite::{AsyncWrite, AsyncWriteExt};
use sedge_storage::{Chunk, Placed};

/// A whole response frame, length and header included, in pieces.
pub type Frame = Vec<Chunk>;

/// Most pieces in one system call; more are written by more calls.
const PIECES_MAX: usize = 64;

/// Where replies go.
pub trait ReplySocket: AsyncWrite + Unpin {
    /// The socket, where what it is given is what it sends, so that the kernel may do it.
    fn plain(&self) -> Option<&Async<TcpStream>> {
        None
    }
}

impl ReplySocket for &Async<TcpStream> {
    fn plain(&self) -> Option<&Async<TcpStream>> {
        Some(self)
    }
}

/// Writes all of `frame`. Each piece leaves at once, small or not: a cork, which would fill packets
/// over them, has TCP's own pacing (BBR without a queue that does it) set a timer for every piece,
/// which costs more than the packets that it saves.
///
/// # Errors
/// What the socket says, and a segment that cannot be read: half a frame is written then, and the
/// connection must be closed.
pub async fn write_frame(socket: &mut impl ReplySocket, frame: &[Chunk]) -> io::Result<()> {
    let mut rest = frame;
    while let Some(first) = rest.first() {
        let taken = match first {
            Chunk::Placed(placed) => {
                send(socket, placed).await?;
                1
            }
            Chunk::Read(_) => {
                let in_memory: Vec<&[u8]> = rest
                    .iter()
                    .map_while(|piece| match piece {
                        Chunk::Read(bytes) => Some(&bytes[..]),
                        Chunk::Placed(_) => None,
                    })
                    .collect();
                write_all_vectored(socket, &in_memory).await?;
                in_memory.len()
            }
        };
        rest = &rest[taken..];
    }
    Ok(())
}

async fn send(socket: &mut impl ReplySocket, placed: &Placed) -> io::Result<()> {
    let (Some(plain), Some((file, position))) = (socket.plain(), placed.file()) else {
        let placed = placed.clone();
        let bytes = blocking::unblock(move || placed.read())
            .await
            .map_err(io::Error::other)?;
        return socket.write_all(&bytes).await;
    };
    let end = position + placed.bytes() as u64;
    let mut at = position;
    while at < end {
        let sent = plain
            .write_with(|to| {
                let left = (end - at) as usize;
                Ok(rustix::fs::sendfile(to, file, Some(&mut at), left)?)
            })
            .await?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

async fn write_all_vectored(
    writer: &mut (impl AsyncWrite + Unpin),
    pieces: &[&[u8]],
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
        let mut written = match &slices[..] {
            [one] => writer.write(one).await?,
            many => writer.write_vectored(many).await?,
        };
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_lite::AsyncReadExt;
    use futures_lite::future::{self, block_on};
    use sedge_protocol::Bytes;
    use sedge_protocol::fetch::frame_bytes;
    use sedge_protocol::ids::{Offset, PartitionId};
    use sedge_protocol::records::{BatchBuilder, Compression};
    use sedge_storage::{Commit, Entry, LogStore, NoViews, Options, Store, Wait};

    use super::*;

    /// Takes three bytes at a time and knows nothing of files, like TLS.
    struct Trickle(Vec<u8>);

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl ReplySocket for Trickle {}

    /// A log on disk that goes when this goes.
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

        /// Twenty commits of 20 kB, and where they lie.
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
                .locate(partition, Offset(0), Offset(20), 1 << 20, Wait::ForDisk)
                .unwrap()
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
        let mut trickle = Trickle(Vec::new());
        block_on(write_frame(&mut trickle, &frame)).unwrap();
        assert!(trickle.0 == whole(&frame));
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
        let mut socket = &server;
        let mut received = vec![0; frame_bytes(&frame)];
        let write = write_frame(&mut socket, &frame);
        let (written, read) = block_on(future::zip(write, (&client).read_exact(&mut received)));
        written.unwrap();
        read.unwrap();
        assert!(received == whole(&frame));
    }

    #[test]
    fn a_reader_that_left_is_an_error() {
        let log = Log::new("gone");
        let frame = log.filled();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(TcpStream::connect(address).unwrap());
        let server = Async::new(listener.accept().unwrap().0).unwrap();
        let frames = std::iter::repeat_n(&frame, 100);
        let outcome = frames
            .map(|frame| block_on(write_frame(&mut &server, frame)))
            .find(Result::is_err);
        assert!(outcome.is_some());
    }
}
