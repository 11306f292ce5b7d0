//! A connected byte stream to a broker, with or without TLS. Other modules use only its two halves.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::io::split;
use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use smol::net::TcpStream;

use super::config::{ClientConfig, split_address};
use super::error::Error;
use crate::tls::ClientTls;
use crate::tls::words::{self, Peer};

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
    /// Connects to `HOST:PORT`, through the proxy if there is one: the proxy resolves the broker's
    /// name. Uses TLS if the configuration does.
    pub async fn connect(address: &str, config: &ClientConfig) -> Result<Self, Error> {
        let (host, _) = split_address(address).ok_or_else(|| Error::Address(address.to_owned()))?;
        let first = config.proxy.as_ref().map_or(address, |it| &it.address);
        let (mut stream, peer) = Self::reach(first).await?;
        if let Some(proxy) = &config.proxy {
            proxy.tunnel(&mut stream, address).await?;
        }
        if let Some(tls) = &config.tls {
            return Self::secure(stream, peer, (address, host), tls).await;
        }
        Ok(Self {
            reader: Box::new(stream.clone()),
            writer: Box::new(stream),
            peer,
        })
    }

    /// Connects to `HOST:PORT`, trying the host's addresses in order. Its name is resolved anew.
    async fn reach(address: &str) -> Result<(TcpStream, SocketAddr), Error> {
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
                    return Ok((stream, peer));
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    async fn secure(
        stream: TcpStream,
        peer: SocketAddr,
        (address, host): (&str, &str),
        tls: &Arc<ClientTls>,
    ) -> Result<Self, Error> {
        let tls = Arc::clone(tls);
        let config = blocking::unblock(move || tls.current()).await?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Address(address.to_owned()))?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        let stream = connecting
            .await
            .map_err(|error| match words::of_io(&error) {
                Some(error) => Error::Tls {
                    why: words::explain(error, Peer::Broker).1,
                },
                None => Error::Handshake {
                    address: address.to_owned(),
                    source: error,
                },
            })?;
        let (reader, writer) = split(stream);
        Ok(Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer,
        })
    }
}
