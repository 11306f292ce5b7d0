//! The HTTP server, with TLS or without.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_executor::Executor;
use async_io::{Async, Timer};
use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite, future};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::access::{Access, Verdict, Wanted};
use super::device::{Device, Reply};
use super::status::Source;
use super::{limits, page, series};
use crate::config::{ConsoleTokens, HostPort};
use crate::metrics::Metrics;
use crate::net::Net;
use crate::net::secure_socket::SecureSocket;
use crate::tls::ServerTls;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Binds the console's port.
///
/// # Errors
/// The name does not resolve, or the address is taken or not one of this machine's.
pub fn bind(address: &HostPort) -> io::Result<Async<TcpListener>> {
    let addresses = address.resolve()?;
    Async::new(TcpListener::bind(addresses.as_slice())?)
}

/// What a console with TLS performs its handshakes with.
pub type Secure = (Arc<ServerTls>, Arc<Net>);

/// Answers requests until the future is dropped, which closes its connections.
pub async fn serve(
    listener: Async<TcpListener>,
    source: Arc<dyn Source>,
    metrics: Arc<Metrics>,
    tokens: &ConsoleTokens,
    secure: Option<Secure>,
) -> Infallible {
    let console = Arc::new(Console {
        source,
        metrics,
        access: Access::new(tokens),
        secure,
        device: Device::of_this_process(),
        open: AtomicUsize::new(0),
    });
    let executor = Executor::new();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    let Some(place) = Place::take(&console) else {
                        continue;
                    };
                    executor.spawn(welcome(stream, remote, place)).detach();
                }
                Err(error) => {
                    log::warn!(
                        target: "sedge::console",
                        "cannot accept a connection: {error}; retrying"
                    );
                    Timer::after(limits::ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    executor.run(accept).await
}

struct Console {
    source: Arc<dyn Source>,
    metrics: Arc<Metrics>,
    access: Access,
    secure: Option<Secure>,
    device: Device,
    open: AtomicUsize,
}

/// A place among the connections that may be open.
struct Place(Arc<Console>);

impl Place {
    fn take(console: &Arc<Console>) -> Option<Self> {
        // The place exists before the check, so that dropping it releases the count.
        let open = console.open.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(console));
        (open < limits::CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream in both directions. The HTTP server takes it as a trait object, so that its code is
/// there once.
trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for T {}

async fn welcome(mut stream: Async<TcpStream>, remote: SocketAddr, place: Place) {
    let console = &place.0;
    let Some((tls, net)) = console.secure.clone() else {
        let is_private = remote.ip().is_loopback();
        return converse(&mut stream, console, is_private).await;
    };
    if let Some((socket, secured)) = SecureSocket::accept(stream, remote, tls, net).await {
        let session = socket.stream(secured);
        let (mut both, _) = session.halves();
        converse(&mut both, console, true).await;
        session.close();
    }
}

/// Answers the requests of a connection. `is_private` is false if others can read what it sends.
async fn converse(stream: &mut dyn ReadWrite, console: &Arc<Console>, is_private: bool) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let answer = if request.uri().path().starts_with("/device") {
            console.answer_of_device(request, is_private).await
        } else {
            console.answer(&request).await
        };
        Ok::<_, Infallible>(answer)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(SmolTimer::new())
            .header_read_timeout(limits::HEAD_TIMEOUT)
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .max_headers(limits::HEADERS_MAX)
            .serve_connection(FuturesIo::new(stream), service)
    );
    let life = async {
        Timer::after(limits::CONNECTION_LIFE).await;
        None
    };
    let ended = future::or(async { Some(connection.as_mut().await) }, life).await;
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let grace = async {
            loop {
                Timer::after(limits::CLOSE_GRACE).await;
                if !console.device.is_asked() {
                    return Ok(());
                }
            }
        };
        let _ = future::or(connection, grace).await;
    }
}

impl Console {
    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Whole> {
        let head = request.method() == Method::HEAD;
        if request.method() != Method::GET && !head {
            return response(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "use GET or HEAD\n".into(),
            );
        }
        let path = request.uri().path();
        let wanted = match path {
            "/livez" | "/readyz" => Wanted::Alive,
            "/metrics" => Wanted::Metrics,
            _ => Wanted::Everything,
        };
        match self.access.check(request.headers(), wanted) {
            Verdict::Allowed => {}
            Verdict::Unknown => return self.unknown(),
            Verdict::Denied => {
                self.metrics.console_denied.increment();
                let body = "this token is for /metrics alone\n";
                return response(StatusCode::FORBIDDEN, TEXT, body.into());
            }
        }
        // A stranger is told that something is wrong, but not of which topic.
        let all = self.access.check(request.headers(), Wanted::Everything);
        let is_known = all == Verdict::Allowed;
        let mut response = match path {
            "/" => response(StatusCode::OK, HTML, self.page().await),
            "/metrics" => response(StatusCode::OK, PROMETHEUS, self.metrics().await),
            "/livez" => response(StatusCode::OK, TEXT, "ok\n".into()),
            // Browsers request it unasked.
            "/favicon.ico" => response(StatusCode::NO_CONTENT, TEXT, String::new()),
            "/healthz" => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "use /livez (the process runs) or /readyz (clients are served)\n".into(),
            ),
            "/readyz" => match self.source.ready() {
                Ok(()) if is_known => response(StatusCode::OK, TEXT, self.ready().await),
                Ok(()) => response(StatusCode::OK, TEXT, "ok\n".into()),
                Err(_) if !is_known => {
                    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".into())
                }
                Err(why) => response(
                    StatusCode::SERVICE_UNAVAILABLE,
                    TEXT,
                    format!("not ready: {why}\n"),
                ),
            },
            _ => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "try /, /metrics, /livez or /readyz\n".into(),
            ),
        };
        if head {
            response.body_mut().0 = None;
        }
        response
    }

    /// Passes a request on to the device, if its token is for that.
    async fn answer_of_device(
        &self,
        request: Request<Incoming>,
        is_private: bool,
    ) -> Response<Whole> {
        let refused = |body: &str| response(StatusCode::FORBIDDEN, TEXT, body.into());
        match self.access.check(request.headers(), Wanted::Device) {
            Verdict::Allowed => {}
            Verdict::Unknown => return self.unknown(),
            Verdict::Denied => {
                self.metrics.console_denied.increment();
                return refused("/device takes the token of sedge.console.device.token alone\n");
            }
        }
        if !is_private {
            return refused(
                "/device is there over TLS alone: set sedge.console=https://HOST:PORT\n",
            );
        }
        let Reply { status, text } = self.device.answer(request).await;
        response(status, TEXT, text)
    }

    /// Asks for a token; browsers ask their user for a name and a password.
    fn unknown(&self) -> Response<Whole> {
        self.metrics.console_denied.increment();
        let body = "show a token: Authorization: Bearer TOKEN, or in a browser any name with the \
                    token as the password\n";
        let mut response = response(StatusCode::UNAUTHORIZED, TEXT, body.into());
        let challenge = HeaderValue::from_static("Basic realm=\"sedge\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }

    /// Answers that the broker is ready; warnings do not make it unready.
    async fn ready(self: &Arc<Self>) -> String {
        let console = Arc::clone(self);
        let warnings = blocking::unblock(move || console.source.warnings()).await;
        let lines = warnings.iter().map(|line| format!("{line}\n"));
        std::iter::once("ok\n".to_owned()).chain(lines).collect()
    }

    async fn page(self: &Arc<Self>) -> String {
        let console = Arc::clone(self);
        blocking::unblock(move || {
            page::render(
                &console.source.status(),
                console.source.ready(),
                &console.metrics,
            )
        })
        .await
    }

    async fn metrics(self: &Arc<Self>) -> String {
        let console = Arc::clone(self);
        blocking::unblock(move || series::render(&console.source.status(), &console.metrics)).await
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Whole> {
    let mut response = Response::new(Whole(Some(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// A body that is complete from the start.
#[derive(Debug)]
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
