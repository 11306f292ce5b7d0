//! Pipes from segments to a socket: the kernel takes the pieces from the page cache without a copy,
//! as `sendfile` does, but fills packets across the ends of pieces. This makes a reply of many
//! small commits a third cheaper.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::limits::{PIPE_BYTES, PIPES_MAX};

/// The process's pipes. A reply borrows one while it is written.
#[derive(Debug, Default)]
pub struct Pipes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    idle: Vec<Pipe>,
    lent: usize,
}

#[derive(Debug)]
struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (from, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The kernel may refuse, and the pipe then holds less.
        let _ = fcntl_setpipe_size(&to, PIPE_BYTES);
        Ok(Self { from, to })
    }
}

impl Pipes {
    /// Lends an empty pipe; `None` if all are lent, or the kernel refuses one.
    pub fn lend(&self) -> Option<Lent<'_>> {
        let mut inner = self.lock();
        if inner.lent >= PIPES_MAX {
            return None;
        }
        let pipe = inner.idle.pop().or_else(|| Pipe::new().ok())?;
        inner.lent += 1;
        Some(Lent {
            pipes: self,
            pipe: Some(pipe),
            held: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of a file, or the rest of one.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub file: BorrowedFd<'a>,
    pub position: u64,
    pub bytes: usize,
}

/// A borrowed pipe. If it is not empty when it is returned, it is closed.
#[derive(Debug)]
pub struct Lent<'a> {
    pipes: &'a Pipes,
    /// `None` only while this is dropped.
    pipe: Option<Pipe>,
    held: usize,
}

impl Lent<'_> {
    /// Returns the bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Fills the pipe from `pieces` until it is full or they end.
    ///
    /// # Errors
    /// The file cannot be read, or ends before the piece does.
    pub fn fill(&mut self, pieces: &mut VecDeque<Piece<'_>>) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        while let Some(piece) = pieces.front_mut() {
            let position = Some(&mut piece.position);
            let flags = SpliceFlags::NONBLOCK;
            let taken = match splice(piece.file, position, &pipe.to, None, piece.bytes, flags) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(taken) => taken,
                Err(rustix::io::Errno::AGAIN) if self.held > 0 => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.held += taken;
            piece.bytes -= taken;
            if piece.bytes > 0 {
                return Ok(());
            }
            pieces.pop_front();
        }
        Ok(())
    }

    /// Moves as many bytes to the socket as it accepts now, and returns their number; if `more`
    /// follows soon, a packet may wait for it.
    ///
    /// # Errors
    /// The socket fails; [`io::ErrorKind::WouldBlock`] if it accepts nothing now.
    pub fn empty_into(&mut self, socket: impl AsFd, more: bool) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else {
            return Ok(0);
        };
        let mut flags = SpliceFlags::NONBLOCK;
        flags.set(SpliceFlags::MORE, more);
        let given = splice(&pipe.from, None, socket, None, self.held, flags)?;
        self.held -= given;
        Ok(given)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut inner = self.pipes.lock();
        inner.lent -= 1;
        if self.held == 0 {
            inner.idle.extend(self.pipe.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn file(bytes: usize) -> File {
        let name = format!("sedge-pipes-{}-{bytes}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = File::create_new(&path).unwrap();
        file.write_all(&vec![7; bytes]).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn only_so_many_are_lent_and_none_with_something_in_it() {
        let pipes = Pipes::default();
        let file = file(10_000);
        let piece = Piece {
            file: file.as_fd(),
            position: 9_000,
            bytes: 1_000,
        };
        let mut lent: Vec<_> = (0..PIPES_MAX).map(|_| pipes.lend().unwrap()).collect();
        assert!(pipes.lend().is_none());
        for one in &mut lent {
            one.fill(&mut VecDeque::from([piece])).unwrap();
            assert_eq!(one.held(), 1_000);
        }
        lent.clear();
        assert!(pipes.lock().idle.is_empty());
        drop(pipes.lend().unwrap());
        assert_eq!(pipes.lock().idle.len(), 1);
        assert_eq!(pipes.lend().unwrap().held(), 0);
    }

    #[test]
    fn it_takes_what_it_has_room_for_and_says_where_a_file_ends_early() {
        let pipes = Pipes::default();
        let file = file(2 * PIPE_BYTES);
        let mut lent = pipes.lend().unwrap();
        let mut left = VecDeque::from([Piece {
            file: file.as_fd(),
            position: 100,
            bytes: 2 * PIPE_BYTES,
        }]);
        lent.fill(&mut left).unwrap();
        let held = lent.held();
        assert!(held > 0 && held < 2 * PIPE_BYTES);
        assert_eq!(left[0].position, 100 + held as u64);
        lent.fill(&mut left).unwrap();
        assert_eq!((lent.held(), left.len()), (held, 1));

        let mut other = pipes.lend().unwrap();
        let mut behind = VecDeque::from([Piece {
            file: file.as_fd(),
            position: 2 * PIPE_BYTES as u64,
            bytes: 1,
        }]);
        let refused = other.fill(&mut behind).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);
    }
}
