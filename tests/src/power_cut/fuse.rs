//! A file system with one file, `disk`, for the kernel's FUSE protocol (version 7.31,
//! `include/uapi/linux/fuse.h`), as far as a loop device needs it. All numbers are in the machine's
//! byte order.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use super::events::{Event, Events};

const IN_HEADER_BYTES: usize = 40;
const OUT_HEADER_BYTES: u32 = 16;
const WRITE_BYTES_MAX: u32 = 128 << 10;
/// Bytes of a write and its headers.
const REQUEST_BYTES_MAX: usize = (WRITE_BYTES_MAX as usize) + 4096;

const ROOT: u64 = 1;
const DISK: u64 = 2;
const NAME: &[u8] = b"disk\0";

const DIRECTORY_MODE: u32 = 0o040_755;
const FILE_MODE: u32 = 0o100_600;

const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// Bypasses the page cache: the loop device's own cache is enough.
const OPEN_DIRECT_IO: u32 = 1;

mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const RELEASEDIR: u32 = 29;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
}

/// Answers requests until unmounted. `image` has the contents of the file.
pub fn serve(mut device: File, image: &File, bytes: u64, events: &Events) {
    let mut buffer = vec![0; REQUEST_BYTES_MAX];
    loop {
        let Ok(length) = device.read(&mut buffer) else {
            // The file system was unmounted.
            return;
        };
        let request = Request(&buffer[..length]);
        let answer = match request.opcode() {
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => continue,
            opcode::DESTROY => return,
            _ => answer(&request, image, bytes, events),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body.0),
            Err(error) => (-error, Vec::new()),
        };
        let mut out = Out::default()
            .u32(OUT_HEADER_BYTES + body.len() as u32)
            .u32(error as u32)
            .u64(request.unique());
        out.0.extend(body);
        if device.write_all(&out.0).is_err() {
            return;
        }
    }
}

fn answer(request: &Request<'_>, image: &File, bytes: u64, events: &Events) -> Result<Out, i32> {
    match request.opcode() {
        opcode::INIT => Ok(init(request)),
        opcode::LOOKUP if request.body() == NAME => Ok(Out::default()
            .u64(DISK)
            .u64(0)
            .u64(u64::MAX >> 1)
            .u64(u64::MAX >> 1)
            .u64(0)
            .attributes(DISK, bytes)),
        opcode::LOOKUP => Err(ENOENT),
        opcode::GETATTR => Ok(Out::default()
            .u64(u64::MAX >> 1)
            .u64(0)
            .attributes(request.node(), bytes)),
        opcode::OPEN => Ok(Out::default().u64(0).u32(OPEN_DIRECT_IO).u32(0)),
        opcode::OPENDIR => Ok(Out::default().u64(0).u64(0)),
        opcode::READ => {
            let (at, size) = (request.u64(8), request.u32(16));
            let size = u64::from(size).min(bytes.saturating_sub(at));
            let mut held = vec![0; size as usize];
            image
                .read_exact_at(&mut held, at)
                .expect("the image is there");
            Ok(Out(held))
        }
        opcode::WRITE => {
            let (at, size) = (request.u64(8), request.u32(16));
            let bytes = request.body()[40..40 + size as usize].to_vec();
            image
                .write_all_at(&bytes, at)
                .expect("the image takes writes");
            events.push(Event::Write { at, bytes });
            Ok(Out::default().u32(size).u32(0))
        }
        opcode::FSYNC => {
            events.push(Event::Flush);
            Ok(Out::default())
        }
        opcode::FLUSH | opcode::RELEASE | opcode::RELEASEDIR => Ok(Out::default()),
        opcode::STATFS => Ok(Out(vec![0; 80])),
        _ => Err(ENOSYS),
    }
}

fn init(request: &Request<'_>) -> Out {
    let read_ahead = request.u32(8);
    let out = Out::default().u32(7).u32(31).u32(read_ahead).u32(0);
    // Background requests, and their congestion threshold; a page of them is the minimum.
    let out = out.u32(16 | 12 << 16).u32(WRITE_BYTES_MAX).u32(1);
    let mut out = out.u32(0);
    out.0.resize(64, 0);
    out
}

/// A request of the kernel.
struct Request<'a>(&'a [u8]);

impl<'a> Request<'a> {
    fn opcode(&self) -> u32 {
        u32::from_ne_bytes(self.0[4..8].try_into().expect("four bytes"))
    }

    fn unique(&self) -> u64 {
        u64::from_ne_bytes(self.0[8..16].try_into().expect("eight bytes"))
    }

    fn node(&self) -> u64 {
        u64::from_ne_bytes(self.0[16..24].try_into().expect("eight bytes"))
    }

    fn body(&self) -> &'a [u8] {
        &self.0[IN_HEADER_BYTES..]
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.body()[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.body()[at..at + 8].try_into().expect("eight bytes"))
    }
}

/// An answer to the kernel.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn u32(mut self, n: u32) -> Self {
        self.0.extend(n.to_ne_bytes());
        self
    }

    fn u64(mut self, n: u64) -> Self {
        self.0.extend(n.to_ne_bytes());
        self
    }

    fn attributes(self, node: u64, bytes: u64) -> Self {
        let (mode, size) = if node == ROOT {
            (DIRECTORY_MODE, 0)
        } else {
            (FILE_MODE, bytes)
        };
        let out = self
            .u64(node)
            .u64(size)
            .u64(size / 512)
            .u64(0)
            .u64(0)
            .u64(0);
        let out = out.u32(0).u32(0).u32(0).u32(mode).u32(1).u32(0).u32(0);
        out.u32(0).u32(4096).u32(0)
    }
}
