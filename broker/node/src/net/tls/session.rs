//! One TLS session without a socket: encrypted bytes go in and come out.
//!
//! Bytes are received into memory of the thread and decrypted there. A session keeps only what it
//! cannot decrypt yet, what was not read yet and what was not sent yet, so an idle session has no
//! buffer.
//!
//! **Invariant:** a session decrypts whole records when it receives them. So it can encrypt at any
//! time after its handshake, and reads never wait for writes.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::task::{Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, WriteTraffic};
use rustls::{HandshakeKind, ServerConfig};

use super::queue::Queue;
use crate::limits::{
    TLS_HANDSHAKE_BYTES_MAX, TLS_READ_BYTES, TLS_RECORD_BYTES_MAX, TLS_RECORD_PLAIN_BYTES,
};

/// Bytes of a full record, encrypted.
const RECORD_BYTES: usize = TLS_RECORD_PLAIN_BYTES + RECORD_OVERHEAD_BYTES;

/// Bytes that encryption adds to a record: its header, the nonce of TLS 1.2, the tag, the type.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 16 + 1;

const _: () = assert!(
    TLS_HANDSHAKE_BYTES_MAX <= TLS_READ_BYTES && TLS_RECORD_BYTES_MAX <= TLS_READ_BYTES,
    "what a session keeps, and what completes it, is received at once"
);

thread_local! {
    /// Bytes that a session of this thread is receiving.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; TLS_READ_BYTES].into_boxed_slice());
}

/// The broker's side of a session.
pub struct Session {
    tls: UnbufferedServerConnection,
    /// Received bytes that cannot be decrypted yet: a part of a record or of a handshake message.
    incoming: Vec<u8>,
    /// Decrypted bytes that were not read yet.
    unread: Queue,
    /// Encrypted bytes that were not sent yet.
    outgoing: Queue,
    /// Bytes that the client may still send before its handshake must be complete.
    handshake_bytes_left: usize,
    is_ended: bool,
    /// The session failed, or was closed.
    has_failed: bool,
}

/// The destination of decrypted bytes.
struct Plain<'a, 'b> {
    into: &'a mut [IoSliceMut<'b>],
    filled: usize,
    /// Takes what does not fit into `into`.
    unread: &'a mut Queue,
}

impl Plain<'_, '_> {
    fn put(&mut self, bytes: &[u8]) {
        let put = fill(self.into, self.filled, bytes);
        self.filled += put;
        if put < bytes.len() {
            self.unread.push(&bytes[put..]);
        }
    }
}

/// Copies bytes into the buffers, behind the first `filled` bytes of all of them. Returns how many
/// had room.
fn fill(into: &mut [IoSliceMut<'_>], filled: usize, bytes: &[u8]) -> usize {
    let (mut skip, mut put) = (filled, 0);
    for buffer in into {
        let len = buffer.len();
        let room = buffer.get_mut(skip..).unwrap_or_default();
        skip = skip.saturating_sub(len);
        let fits = room.len().min(bytes.len() - put);
        room[..fits].copy_from_slice(&bytes[put..put + fits]);
        put += fits;
    }
    put
}

impl Session {
    /// # Errors
    /// The configuration is invalid.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            unread: Queue::default(),
            outgoing: Queue::default(),
            handshake_bytes_left: TLS_HANDSHAKE_BYTES_MAX,
            is_ended: false,
            has_failed: false,
        })
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Returns whether the client has sent nothing at all.
    pub fn is_silent(&self) -> bool {
        self.handshake_bytes_left == TLS_HANDSHAKE_BYTES_MAX
    }

    pub fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Returns the client's certificate and its issuers, if it sent any.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.peer_certificates()
    }

    /// Returns whether the client will send nothing more.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Returns whether a read returns at once: bytes are decrypted, or the client has ended its
    /// stream.
    pub fn is_readable(&self) -> bool {
        self.is_ended || !self.unread.is_empty()
    }

    /// Reads bytes that are decrypted. Returns 0 if there are none.
    pub fn read(&mut self, into: &mut [IoSliceMut<'_>]) -> usize {
        let bytes = fill(into, 0, self.unread.bytes());
        self.unread.take(bytes);
        self.unread.free();
        bytes
    }

    /// Receives encrypted bytes by `read`, which returns how many it wrote to its buffer; 0 is the
    /// end. Decrypts into `into`, and keeps what does not fit for [`Session::read`]. Returns the
    /// number of bytes in `into`, which is 0 while a record is incomplete.
    ///
    /// # Errors
    /// `read` failed, or what came is not TLS. [`Session::outgoing`] then has an alert.
    pub fn poll_receive(
        &mut self,
        into: &mut [IoSliceMut<'_>],
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        RECEIVED.with_borrow_mut(|buffer| {
            let held = self.incoming.len();
            let end = if self.is_handshaking() {
                if self.handshake_bytes_left == 0 {
                    return Poll::Ready(Err(endless("handshake", TLS_HANDSHAKE_BYTES_MAX)));
                }
                held + self.handshake_bytes_left
            } else {
                // Not more than the reader wants, or one record: the rest would take memory.
                let wanted = into.iter().map(|buffer| buffer.len()).sum();
                let record = if held == 0 {
                    RECORD_BYTES
                } else {
                    TLS_RECORD_BYTES_MAX
                };
                encrypted_bytes_max(wanted).clamp(record, TLS_READ_BYTES)
            };
            let bytes = ready!(read(&mut buffer[held..end]))?;
            if bytes == 0 {
                // A missing `close_notify` is a normal end of the stream.
                self.is_ended = true;
                self.incoming = Vec::new();
                return Poll::Ready(Ok(0));
            }
            self.handshake_bytes_left = self.handshake_bytes_left.saturating_sub(bytes);
            buffer[..held].copy_from_slice(&self.incoming);
            Poll::Ready(self.decrypt(&mut buffer[..held + bytes], into))
        })
    }

    /// Decrypts all whole records and keeps the rest.
    fn decrypt(&mut self, received: &mut [u8], into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut filled = 0;
        let used = self.advance(received, into, &mut filled, |_, _| Ok(()))?;
        let rest = if self.is_ended {
            &[]
        } else {
            &received[used..]
        };
        if rest.len() >= TLS_RECORD_BYTES_MAX && !self.is_handshaking() {
            self.has_failed = true;
            return Err(endless("TLS message", TLS_RECORD_BYTES_MAX));
        }
        if rest.is_empty() {
            self.incoming = Vec::new();
        } else {
            // Not larger than the largest rest.
            self.incoming.clear();
            self.incoming.reserve_exact(rest.len());
            self.incoming.extend_from_slice(rest);
        }
        Ok(filled)
    }

    /// Encrypts `plain`.
    ///
    /// # Errors
    /// The session failed before, or its keys are used up.
    pub fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        let room = encrypted_bytes_max(plain.len());
        self.write(room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Queues the alert `close_notify`.
    pub fn close(&mut self) {
        if !self.is_handshaking() {
            // A session that failed has queued another alert.
            let _ = self.write(RECORD_OVERHEAD_BYTES + 2, |traffic, room| {
                traffic.queue_close_notify(room)
            });
            self.has_failed = true;
        }
    }

    fn write(
        &mut self,
        room: usize,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let used = self.advance(&mut incoming, &mut [], &mut 0, |traffic, outgoing| {
            let written = match write(traffic, outgoing.room(room)) {
                // Other messages, such as a key update, have to be sent first.
                Err(EncryptError::InsufficientSize(size)) => {
                    write(traffic, outgoing.room(size.required_size))
                }
                written => written,
            };
            outgoing.pushed(written.map_err(io::Error::other)?);
            Ok(())
        })?;
        incoming.drain(..used);
        self.incoming = incoming;
        Ok(())
    }

    /// Runs the session until it needs more bytes, and `write` if it can encrypt then. Returns how
    /// many of the bytes in `received` it has used.
    fn advance(
        &mut self,
        received: &mut [u8],
        into: &mut [IoSliceMut<'_>],
        filled: &mut usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>, &mut Queue) -> io::Result<()>,
    ) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut plain = Plain {
            into,
            filled: 0,
            unread: &mut self.unread,
        };
        let mut used = 0;
        loop {
            let status = self.tls.process_tls_records(&mut received[used..]);
            let mut discard = status.discard;
            let mut is_done = false;
            let outcome = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            plain.put(record.payload);
                        }
                        Some(Err(error)) => break Err(tls_error(error)),
                        None => break Ok(()),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, |room| data.encode(room))
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(())
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_ended = true;
                    Ok(())
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    is_done = true;
                    write(&mut traffic, &mut self.outgoing)
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    is_done = true;
                    Ok(())
                }
                Ok(_) => Err(io::Error::other("TLS early data is off")),
                Err(error) => Err(tls_error(error)),
            };
            used += discard;
            if let Err(error) = outcome {
                self.has_failed = true;
                self.encode_alert(&mut received[used..]);
                return Err(error);
            }
            if is_done {
                *filled = plain.filled;
                return Ok(used);
            }
        }
    }

    /// Queues the alert that tells the client why the session failed.
    fn encode_alert(&mut self, received: &mut [u8]) {
        while self.tls.wants_write() {
            let status = self.tls.process_tls_records(received);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else {
                return;
            };
            let _ = encode(&mut self.outgoing, |room| data.encode(room));
        }
    }

    /// Returns the encrypted bytes that have to be sent.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.bytes()
    }

    /// Notes that this many of the outgoing bytes were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.outgoing.take(bytes);
    }

    /// Gives back the memory of outgoing bytes that were all sent.
    pub fn free_outgoing(&mut self) {
        self.outgoing.free();
    }
}

/// Returns the most bytes of the records that a sender makes of this many bytes of plaintext, if it
/// fills its records.
const fn encrypted_bytes_max(plain: usize) -> usize {
    let records = plain / TLS_RECORD_PLAIN_BYTES + 1;
    plain + records * RECORD_OVERHEAD_BYTES
}

fn endless(what: &str, bytes_max: usize) -> io::Error {
    let why = format!("the client sent more than {bytes_max} bytes in its {what}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encode(
    outgoing: &mut Queue,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let written = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => encode(outgoing.room(size.required_size)),
        written => written,
    };
    outgoing.pushed(written.map_err(io::Error::other)?);
    Ok(())
}

#[cfg(test)]
mod tests;
