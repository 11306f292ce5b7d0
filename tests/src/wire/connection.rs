//! A raw connection, plain or with TLS: sends and receives frames, and notices when the broker
//! closes it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket};

use crate::wire::Encoder;
use crate::{limits, tls};

/// The broker's reaction to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The frame without its length: correlation id, header, body.
    Frame(Vec<u8>),
    /// The broker closed the connection.
    Closed,
}

impl Reply {
    /// Returns the frame's bytes. Panics if the connection was closed.
    pub fn frame(self) -> Vec<u8> {
        match self {
            Self::Frame(bytes) => bytes,
            Self::Closed => panic!("the broker closed the connection"),
        }
    }
}

#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    pub stream: S,
    correlation: i32,
}

impl Connection {
    pub fn open(address: &str) -> Self {
        Self::patient(address, limits::REPLY)
    }

    /// Opens a connection on which a reply may take up to `reply_within`.
    pub fn patient(address: &str, reply_within: Duration) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self::over(stream, reply_within)
    }

    /// One whose client has this address: each of 127.0.0.0/8 is this machine's.
    pub fn from_host(host: Ipv4Addr, address: &str) -> Self {
        let connect = || -> rustix::io::Result<TcpStream> {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            bind(&socket, &SocketAddrV4::new(host, 0))?;
            let to: SocketAddrV4 = address.parse().expect("an IPv4 address and a port");
            rustix::net::connect(&socket, &to)?;
            Ok(TcpStream::from(socket))
        };
        let stream = connect()
            .unwrap_or_else(|error| panic!("cannot connect from {host} to {address}: {error}"));
        Self::over(stream, limits::REPLY)
    }

    fn over(stream: TcpStream, reply_within: Duration) -> Self {
        stream
            .set_nodelay(true)
            .expect("a connected socket takes options");
        stream
            .set_read_timeout(Some(reply_within))
            .expect("as above");
        Self {
            stream,
            correlation: 0,
        }
    }

    /// Ends the sending direction.
    pub fn end(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Does a handshake of TLS on it.
    ///
    /// # Errors
    /// The broker refused it.
    pub fn secure(self, client: &tls::Client) -> std::io::Result<Connection<tls::Stream>> {
        Ok(Connection {
            stream: client.handshake(self.stream)?,
            correlation: self.correlation,
        })
    }
}

impl Connection<tls::Stream> {
    pub fn open_secured(client: &tls::Client, address: &str) -> Self {
        Connection::open(address)
            .secure(client)
            .unwrap_or_else(|error| panic!("no TLS with {address}: {error}"))
    }
}

impl<S: Read + Write> Connection<S> {
    /// Sends raw bytes. Does not fail if the broker has already closed the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Sends a request with a version 1 header and returns its correlation id.
    pub fn send(&mut self, key: i16, version: i16, body: &[u8]) -> i32 {
        self.correlation += 1;
        let frame = frame(key, version, self.correlation, body);
        self.send_raw(&frame);
        self.correlation
    }

    /// Sends a request and returns the body of its reply (header version 0).
    pub fn ask(&mut self, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let correlation = self.send(key, version, body);
        let frame = self.reply().frame();
        assert_eq!(
            frame[..4],
            correlation.to_be_bytes(),
            "the correlation id comes back"
        );
        frame[4..].to_vec()
    }

    /// Waits for a frame or for the end of the connection.
    pub fn reply(&mut self) -> Reply {
        let mut length = [0; 4];
        if !self.fill(&mut length) {
            return Reply::Closed;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if self.fill(&mut frame) {
            Reply::Frame(frame)
        } else {
            Reply::Closed
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("neither a reply nor the end of the connection in time")
            }
            Err(_) => false,
        }
    }
}

/// Returns a whole request frame, its length included.
pub fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    frame_of("sedge-tests", (key, version), correlation, body)
}

/// Returns a whole request frame of a client of this id.
pub fn frame_of(
    client_id: &str,
    (key, version): (i16, i16),
    correlation: i32,
    body: &[u8],
) -> Vec<u8> {
    let header = Encoder::default()
        .i16(key)
        .i16(version)
        .i32(correlation)
        .string(client_id)
        .0;
    let mut frame = Encoder::default().i32((header.len() + body.len()) as i32).0;
    frame.extend(header);
    frame.extend(body);
    frame
}
