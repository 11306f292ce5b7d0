//! Starts the broker, hears from it, starts it again, and feeds the watchdog while it is well.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sedge_init::health::{Health, Verdict};
use sedge_init::settings::Slot;

use crate::{journal, kernel, say, slot};

const BROKER: &str = "/usr/bin/sedge";
/// The user of the broker; root of the image names it.
pub const USER: u32 = 990;
const DATA: &str = "/data/sedge";
/// The owner's configuration, on the FAT partition.
const OWN: &str = "/config/sedge.toml";
/// The board's, in the image.
const BOARD: &str = "/usr/share/sedge/sedge.toml";
const NOTIFY: &str = "/run/notify";
const WATCHDOG: &str = "/dev/watchdog0";
/// Exit code of a broker whose configuration is wrong (sysexits(3)).
const CONFIG: i32 = 78;
/// Time between two looks at the broker.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
/// Pause before a start after an end, growing up to a limit.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a line of the broker's output; the rest begins another line.
const LINE_BYTES_MAX: u64 = 8 << 10;
/// Lines of the broker that are kept to say why it ended.
const LAST_LINES: usize = 4;

/// The broker's last lines on standard error.
type LastLines = Arc<Mutex<VecDeque<String>>>;

/// The broker and what is known of it.
pub struct Supervisor {
    messages: UnixDatagram,
    watchdog: Option<File>,
    silence_max: Duration,
    health: Health,
    slot: Slot,
    /// Why the owner's configuration is not used.
    notice: Option<String>,
    last_lines: LastLines,
    is_named_good: bool,
    is_ready: bool,
}

impl Supervisor {
    pub fn new(silence_max: Duration, slot: Slot) -> io::Result<Self> {
        let _ = fs::remove_file(NOTIFY);
        let messages = UnixDatagram::bind(NOTIFY)?;
        messages.set_read_timeout(Some(LOOKED_AT_EVERY))?;
        std::os::unix::fs::chown(NOTIFY, Some(USER), Some(USER))?;
        let own = Path::new(OWN);
        let lacking = "there is no sedge.toml on the partition `config`, so the board's settings \
                       are used";
        Ok(Self {
            messages,
            watchdog: watchdog(silence_max),
            silence_max,
            health: Health::new(silence_max, journal::uptime()),
            slot,
            notice: (!own.is_file()).then(|| lacking.to_owned()),
            last_lines: Arc::default(),
            is_named_good: false,
            is_ready: false,
        })
    }

    /// Keeps the broker running. Does not return.
    pub fn run(mut self) -> ! {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.start() {
                Ok(mut broker) => {
                    if self.watch(&mut broker) {
                        pause = PAUSE_FIRST;
                    }
                }
                Err(error) => say!("the broker cannot be started: {error}"),
            }
            self.health.handle_end();
            self.feed_or_restart();
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn start(&mut self) -> io::Result<Child> {
        fs::create_dir_all(DATA)?;
        std::os::unix::fs::chown(DATA, Some(USER), Some(USER))?;
        let watchdog_us = (self.silence_max / 2).as_micros().to_string();
        let mut command = Command::new(BROKER);
        command.args(["serve", "--data", DATA]);
        match &self.notice {
            None => command.args(["--config", OWN]),
            Some(notice) => {
                say!("{notice}");
                let notice = format!("sedge.notice={notice}");
                command.args(["--config", BOARD, "--set", &notice])
            }
        };
        self.health.handle_start(journal::uptime());
        self.is_ready = false;
        let mut child = command
            .env_clear()
            .env("HOME", DATA)
            .env("PATH", "/usr/bin")
            .env("NOTIFY_SOCKET", NOTIFY)
            .env("WATCHDOG_USEC", watchdog_us)
            .uid(USER)
            .gid(USER)
            .current_dir(DATA)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(output) = child.stdout.take() {
            crate::start_thread("output", move || follow(output, announce));
        }
        if let Some(errors) = child.stderr.take() {
            let last = Arc::clone(&self.last_lines);
            crate::start_thread("errors", move || follow(errors, |line| log(line, &last)));
        }
        Ok(child)
    }

    /// Watches the broker until it ends. Returns whether it was ready.
    fn watch(&mut self, broker: &mut Child) -> bool {
        loop {
            self.hear();
            match broker.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    self.ended(status);
                    return self.is_ready;
                }
                Err(error) => say!("the broker cannot be watched: {error}"),
            }
            if self.feed_or_restart() == Verdict::Kill {
                let seconds = self.silence_max.as_secs();
                say!("the broker has said nothing for {seconds} s; it is killed");
                let _ = broker.kill();
            }
        }
    }

    /// Takes the messages that are there, or waits a little for one.
    fn hear(&mut self) {
        let mut bytes = [0; 512];
        let Ok(read) = self.messages.recv(&mut bytes) else {
            return;
        };
        let text = String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).into_owned();
        for line in text.lines() {
            if line != "READY=1" && line != "WATCHDOG=1" {
                continue;
            }
            self.health.handle_alive(journal::uptime());
            self.is_ready = true;
            if !self.is_named_good {
                self.is_named_good = true;
                let slot = self.slot;
                crate::start_thread("slot", move || slot::name_good(slot));
            }
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        say!("the broker ended: {status}");
        // The thread that reads may be a little behind.
        thread::sleep(PAUSE_FIRST);
        if status.code() == Some(CONFIG) && self.notice.is_none() {
            let last = self.last_lines.lock();
            let last = last.unwrap_or_else(PoisonError::into_inner);
            let why: Vec<&str> = last.iter().map(|line| line.trim()).collect();
            self.notice = Some(format!(
                "sedge.toml cannot be used, so the board's settings are used until the next \
                 restart: {}",
                why.join("; ")
            ));
        }
    }

    fn feed_or_restart(&mut self) -> Verdict {
        let verdict = self.health.verdict(journal::uptime());
        if verdict == Verdict::Starve {
            say!("the broker does not become well; the device restarts");
            kernel::restart();
        }
        if let Some(watchdog) = &mut self.watchdog {
            // If the watchdog cannot be fed, it restarts the device, which is all that is left.
            let _ = watchdog.write_all(b"\0");
        }
        verdict
    }
}

/// Opens the watchdog, which from then on wants to be fed.
fn watchdog(timeout: Duration) -> Option<File> {
    let opened = OpenOptions::new().write(true).open(WATCHDOG);
    match opened {
        Ok(watchdog) => {
            let seconds = timeout.as_secs() as i32;
            if let Err(error) = kernel::set_watchdog(&watchdog, seconds) {
                say!("the watchdog keeps its own timeout: {error}");
            }
            Some(watchdog)
        }
        Err(error) => {
            say!("there is no watchdog ({error}); if the device hangs, it stays as it is");
            None
        }
    }
}

/// Hands the lines of `output` to `take`, until the broker ends.
fn follow(output: impl Read, take: impl Fn(&str)) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

/// Logs a line of standard error. Warnings and errors go to the console too, and so does what is no
/// log line: the reason why a broker does not start.
fn log(line: &str, last: &LastLines) {
    journal::keep(line);
    let is_quiet = ["level=info", "level=debug", "level=trace"];
    if !is_quiet.iter().any(|level| line.contains(level)) {
        journal::print(line);
    }
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if !line.starts_with("ts=") {
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
}

/// Shows a line of standard output. The ready line has the console's address, where readiness is
/// asked for.
fn announce(line: &str) {
    journal::keep(line);
    say!("{line}");
    let console = line.split_whitespace();
    let console = console.filter_map(|word| word.strip_prefix("console="));
    for address in console.filter(|address| *address != "off") {
        match readiness(address) {
            Ok(answer) => say!("readiness: {}", answer.trim_end().replace('\n', "; ")),
            Err(error) => say!("readiness cannot be asked for at {address}: {error}"),
        }
    }
}

/// Returns the body of `/readyz`.
fn readiness(address: &str) -> io::Result<String> {
    let address = address.replace("0.0.0.0:", "127.0.0.1:");
    let mut stream = TcpStream::connect(&address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = "GET /readyz HTTP/1.1\r\nHost: device\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(LINE_BYTES_MAX).read_to_string(&mut answer)?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
