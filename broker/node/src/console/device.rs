//! What an operator asks the device that the broker runs on: passed on to the init of its image,
//! with the init's answer.
//!
//! The broker has the network, TLS and the tokens; the init has the disks, and trusts the broker no
//! further than to say who asks. `DEVICE_SOCKET` in the environment names the init's socket.
//! Without it, the broker runs on no image.

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_io::{Async, Timer};
use bytes::Bytes;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, future};
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, StatusCode};

use super::limits;

/// The way to the init.
#[derive(Debug)]
pub struct Device {
    socket: Option<PathBuf>,
    asked: AtomicUsize,
}

/// An answer in text.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub text: String,
}

impl Reply {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }
}

/// A request that is under way.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Device {
    /// Returns the device of this process, if it runs on an image.
    pub fn of_this_process() -> Self {
        Self {
            socket: std::env::var_os("DEVICE_SOCKET").map(PathBuf::from),
            asked: AtomicUsize::new(0),
        }
    }

    /// Whether a request is under way, so that its connection must not be closed.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Passes a request on.
    pub async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (method, path) = (request.method(), request.uri().path());
        let Some(word) = word(method, path) else {
            return Reply::new(
                StatusCode::NOT_FOUND,
                "try GET /device, GET /device/logs, POST /device/check, PUT /device/slot or \
                 POST /device/reboot\n",
            );
        };
        let Some(socket) = &self.socket else {
            return Reply::new(
                StatusCode::NOT_FOUND,
                "the broker does not run on an image of sedge: update it as it was installed\n",
            );
        };
        let mut body = request.into_body();
        let Some(bytes) = body.size_hint().exact() else {
            return Reply::new(StatusCode::LENGTH_REQUIRED, "send Content-Length\n");
        };
        if bytes > limits::UPDATE_BYTES_MAX {
            let most = limits::UPDATE_BYTES_MAX;
            let text = format!("an update has at most {most} bytes\n");
            return Reply::new(StatusCode::PAYLOAD_TOO_LARGE, text);
        }
        let place = Place(&self.asked);
        if self.asked.fetch_add(1, Ordering::Relaxed) >= limits::DEVICE_REQUESTS_MAX {
            let text = "the device is busy with other requests; try again later\n";
            return Reply::new(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        let answer = ask(socket, word, bytes, &mut body).await;
        drop(place);
        match answer.as_deref().map(|answer| answer.split_once('\n')) {
            Ok(Some(("ok", text))) => Reply::new(StatusCode::OK, text),
            Ok(Some(("refused", text))) => Reply::new(StatusCode::CONFLICT, text),
            Ok(_) => Reply::new(
                StatusCode::BAD_GATEWAY,
                "the device's init gave no answer; its console or log says why\n",
            ),
            Err(error) => Reply::new(
                StatusCode::BAD_GATEWAY,
                format!("the device's init cannot be asked: {error}\n"),
            ),
        }
    }
}

/// Returns the init's word for a request.
fn word(method: &Method, path: &str) -> Option<&'static str> {
    match (method.as_str(), path) {
        ("GET", "/device") => Some("info"),
        ("GET", "/device/logs") => Some("logs"),
        ("POST", "/device/check") => Some("check"),
        ("PUT", "/device/slot") => Some("update"),
        ("POST", "/device/reboot") => Some("reboot"),
        _ => None,
    }
}

async fn ask(socket: &Path, word: &str, bytes: u64, body: &mut Incoming) -> io::Result<String> {
    let mut stream = Async::<UnixStream>::connect(socket).await?;
    let line = format!("{word} {bytes}\n");
    let mut listens = stream.write_all(line.as_bytes()).await.is_ok();
    while let Some(piece) = within(limits::DEVICE_SILENCE_MAX, piece(body)).await? {
        // An init that refuses an update reads no further. The rest is read from the client all the
        // same: a client reads the answer only after everything is sent.
        if listens {
            let written = within(limits::DEVICE_SILENCE_MAX, stream.write_all(&piece)).await;
            listens = written.is_ok();
        }
    }
    within(limits::DEVICE_ANSWER_TIMEOUT, read(stream)).await
}

/// Returns the next bytes of a body.
async fn piece(body: &mut Incoming) -> io::Result<Option<Bytes>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    let frame = frame.transpose().map_err(io::Error::other)?;
    // A frame without data has trailers, which mean nothing here.
    Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn read(stream: Async<UnixStream>) -> io::Result<String> {
    let mut answer = Vec::new();
    let ended = stream
        .take(limits::DEVICE_ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await;
    // An init that closes with bytes unread resets the connection behind its answer.
    match ended {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = async {
        Timer::after(limit).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    future::or(work, late).await
}
