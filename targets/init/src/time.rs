//! Keeps the clock: set at the start from what the device last knew, then by time servers.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};
use sedge_init::{clock, sntp};

use crate::{interfaces::TIME_SERVERS, say};

/// Seconds since 1970 of the image's last commit.
const BUILT: &str = "/etc/sedge-built";
/// Seconds since 1970, as last seen.
pub const SAVED: &str = "/data/device/clock";
const SAVED_EVERY: Duration = Duration::from_mins(5);
const ASKED_EVERY: Duration = Duration::from_hours(1);
const RETRIED_EVERY: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Sets the clock from what the device last knew.
pub fn start() {
    let seconds = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(Duration::from_secs(text.trim().parse().ok()?))
    };
    if let Some(known) = clock::at_start(now(), seconds(SAVED), seconds(BUILT)) {
        set(known);
        say!(
            "the clock was behind: it starts at {} s after 1970",
            known.as_secs()
        );
    }
}

/// Asks time servers, and saves the time. Does not return.
pub fn run(servers: &[String]) {
    let (mut asked_in, mut saved_in) = (Duration::ZERO, Duration::ZERO);
    let mut is_told = false;
    loop {
        if asked_in.is_zero() {
            let mut servers = servers.to_vec();
            if servers.is_empty() {
                let named = TIME_SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
                servers.clone_from(&named);
            }
            let answered = servers.iter().find_map(|server| ask(server).ok());
            if let Some(time) = answered {
                if clock::is_off(now(), time) {
                    set(time);
                    say!(
                        "a time server says that it is {} s after 1970",
                        time.as_secs()
                    );
                    saved_in = Duration::ZERO;
                }
            } else if !is_told && !servers.is_empty() {
                is_told = true;
                say!("no time server answers ({}); asking on", servers.join(", "));
            }
            asked_in = answered.map_or(RETRIED_EVERY, |_| ASKED_EVERY);
        }
        if saved_in.is_zero() {
            // Best effort: on a full disk, the next start knows an older time.
            let _ = save();
            saved_in = SAVED_EVERY;
        }
        let pause = asked_in.min(saved_in);
        thread::sleep(pause);
        asked_in = asked_in.saturating_sub(pause);
        saved_in = saved_in.saturating_sub(pause);
    }
}

fn ask(server: &str) -> io::Result<Duration> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.connect((server, 123))?;
    let nonce = crate::random();
    socket.send(&sntp::question(nonce))?;
    let mut bytes = [0; sntp::MESSAGE_BYTES];
    let read = socket.recv(&mut bytes)?;
    let answer = bytes
        .get(..read)
        .and_then(|bytes| sntp::answer(bytes, nonce));
    answer.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn set(time: Duration) {
    let time = Timespec {
        tv_sec: time.as_secs() as _,
        tv_nsec: time.subsec_nanos().into(),
    };
    if let Err(error) = clock_settime(ClockId::Realtime, time) {
        say!("the clock cannot be set: {error}");
    }
}

fn save() -> io::Result<()> {
    let path = Path::new(SAVED);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, format!("{}\n", now().as_secs()))?;
    fs::rename(new, path)
}
