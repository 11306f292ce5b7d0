//! TLS for a socket that is not a Kafka listener's: that of the console.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use async_io::Async;

use super::activity::{Activity, WatchedSocket};
use super::tls::{self, Secured, Stream};
use super::{Net, connection};
use crate::tls::ServerTls;

/// A socket whose TLS handshake is complete.
pub struct SecureSocket {
    socket: Async<TcpStream>,
    activity: Activity,
}

impl SecureSocket {
    /// Performs the handshake on the threads of low priority. Returns `None` if it fails, which is
    /// logged and counted.
    pub async fn accept(
        socket: Async<TcpStream>,
        remote: SocketAddr,
        tls: Arc<ServerTls>,
        net: Arc<Net>,
    ) -> Option<(Self, Secured)> {
        let (sender, shaken) = async_channel::bounded(1);
        let shared = Arc::clone(&net);
        net.handshakes.spawn(async move {
            let activity = Activity::default();
            let watched = WatchedSocket::new(&socket, &activity);
            match tls::handshake(watched, &tls, &shared).await {
                // The receiver is gone if the broker stops.
                Ok(secured) => _ = sender.send((Self { socket, activity }, secured)).await,
                Err(reason) => connection::tell(remote, reason, &shared),
            }
        });
        shaken.recv().await.ok()
    }

    /// Returns the decrypted stream.
    pub fn stream(&self, secured: Secured) -> Stream<'_> {
        Stream::new(WatchedSocket::new(&self.socket, &self.activity), secured)
    }
}
