//! A connected byte stream to a broker: the place to add TLS, as other modules see only its halves.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_lite::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;

use super::config::split_address;
use super::error::Error;

/// The two halves of a connected stream.
pub struct Transport {
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub peer: SocketAddr,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Connects by plain TCP to `HOST:PORT`, at the first of the host's addresses that answers.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let (host, port) =
            split_address(address).ok_or_else(|| Error::Address(address.to_owned()))?;
        let failed = |source| Error::Connect {
            address: address.to_owned(),
            source,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for peer in smol::net::resolve((host, port)).await.map_err(failed)? {
            match TcpStream::connect(peer).await {
                Ok(stream) => {
                    // A request is written in one piece; waiting for more only delays it.
                    stream.set_nodelay(true).map_err(failed)?;
                    return Ok(Self {
                        reader: Box::new(stream.clone()),
                        writer: Box::new(stream),
                        peer,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }
}
