//! Answers the broker, which has the network, TLS and the tokens of operators: it passes on what an
//! operator asks the device.
//!
//! A request is a line `WORD BYTES`, and as many bytes. The answer is a line, `ok` or `refused`,
//! and text. The broker is not trusted: what an update may be, its signature says (`update.rs`).

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::identity::Identity;
use crate::supervisor::{self, USER};
use crate::{journal, say, slot, update};

/// The socket, which the broker's group may use.
pub const SOCKET: &str = "/run/device";
/// Requests at once: one of each kind.
const REQUESTS_MAX: usize = 4;
const LINE_BYTES_MAX: u64 = 64;
/// Longest pause of a sender, and of a reader.
const SILENCE_MAX: Duration = Duration::from_mins(1);

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Listens for requests.
pub fn start(identity: Identity) -> io::Result<()> {
    let _ = fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET)?;
    std::os::unix::fs::chown(SOCKET, Some(0), Some(USER))?;
    fs::set_permissions(SOCKET, Permissions::from_mode(0o660))?;
    let identity = Arc::new(identity);
    crate::start_thread("agent", move || {
        for stream in listener.incoming().flatten() {
            if OPEN.fetch_add(1, Ordering::Relaxed) >= REQUESTS_MAX {
                OPEN.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let identity = Arc::clone(&identity);
            crate::start_thread("request", move || {
                // A broker that has gone hears no answer.
                let _ = converse(&stream, &identity);
                OPEN.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(())
}

fn converse(mut stream: &UnixStream, identity: &Identity) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
    let (word, bytes) = line.trim_end().split_once(' ').unwrap_or_default();
    let mut body = reader.take(bytes.parse().unwrap_or(0));
    let answer = match word {
        "info" => Ok(identity.lines(slot::is_on_trial(identity.slot)?)),
        "logs" => Ok(journal::all()),
        "check" => update::check(&mut body, identity).map(|head| {
            format!(
                "slot {} takes it: version {}\n",
                identity.slot.other().letter(),
                head.version
            )
        }),
        "update" => update::write(&mut body, identity).map(|head| {
            let to = identity.slot.other().letter();
            format!(
                "slot {to} has version {}, and the next start tries it\n",
                head.version
            )
        }),
        "reboot" => {
            supervisor::ask_for_restart();
            Ok("the device restarts\n".to_owned())
        }
        other => return Err(io::Error::other(format!("`{other}` is no request"))),
    };
    let answer = match answer {
        Ok(text) => format!("ok\n{text}"),
        Err(refusal) => {
            say!("an update is not taken: {refusal}");
            format!("refused\n{refusal}\n")
        }
    };
    stream.write_all(answer.as_bytes())
}
