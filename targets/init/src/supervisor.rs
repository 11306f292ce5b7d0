//! Starts the broker, hears from it, starts it again, and feeds the watchdog while it is well.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sedge_init::health::{Health, Verdict};
use sedge_init::trial::{Outcome, Trial};

use crate::identity::{self, Identity};
use crate::{agent, interfaces, journal, kernel, say};

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
/// Time in which the broker writes what it has and ends, before a restart that was asked for.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Whether an operator asked for a restart.
static RESTARTS: AtomicBool = AtomicBool::new(false);

/// Asks for a restart, which the supervisor does.
pub fn ask_for_restart() {
    RESTARTS.store(true, Ordering::Relaxed);
}

/// The broker's last lines on standard error.
type LastLines = Arc<Mutex<VecDeque<String>>>;

/// The broker and what is known of it.
pub struct Supervisor {
    messages: UnixDatagram,
    watchdog: Option<File>,
    silence_max: Duration,
    health: Health,
    identity: Identity,
    /// `None` if the slot is good.
    trial: Option<Trial>,
    /// Why the owner's configuration is not used.
    notice: Option<String>,
    last_lines: LastLines,
    is_ready: bool,
}

impl Supervisor {
    /// Prepares to run the broker of a slot that is good, or on trial.
    pub fn new(silence_max: Duration, identity: Identity, is_on_trial: bool) -> io::Result<Self> {
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
            identity,
            trial: is_on_trial.then(Trial::default),
            notice: (!own.is_file()).then(|| lacking.to_owned()),
            last_lines: Arc::default(),
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
            if let Some(trial) = &mut self.trial {
                trial.handle_end();
            }
            self.judge();
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
            .env("DEVICE_SOCKET", agent::SOCKET)
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
            self.judge();
            if RESTARTS.load(Ordering::Relaxed) {
                self.restart(broker);
            }
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
            if let Some(trial) = &mut self.trial {
                trial.handle_alive(journal::uptime());
            }
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        say!("the broker ended: {status}");
        // The thread that reads may be a little behind.
        thread::sleep(PAUSE_FIRST);
        // A slot on trial that cannot use the owner's configuration goes, and not the
        // configuration.
        if status.code() == Some(CONFIG) && self.notice.is_none() && self.trial.is_none() {
            self.notice = Some(format!(
                "sedge.toml cannot be used, so the board's settings are used until the next \
                 restart: {}",
                self.last_words()
            ));
        }
    }

    fn last_words(&self) -> String {
        let last = self.last_lines.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = last.iter().map(|line| line.trim()).collect();
        lines.join("; ")
    }

    /// Ends the trial of the slot, if it can be told how.
    fn judge(&mut self) {
        let has_address = interfaces::HAS_ADDRESS.load(Ordering::Relaxed);
        let outcome = self.trial.as_ref().map_or(Outcome::Open, |trial| {
            trial.outcome(journal::uptime(), has_address)
        });
        match outcome {
            Outcome::Open => {}
            Outcome::Good => {
                self.trial = None;
                let identity = self.identity.clone();
                crate::start_thread("slot", move || commit(&identity));
            }
            Outcome::Failed => {
                let why = format!("its broker did not stay well: {}", self.last_words());
                fail(&self.identity, &why);
            }
        }
    }

    /// Stops the broker, and restarts the device.
    fn restart(&mut self, broker: &mut Child) -> ! {
        say!("a restart was asked for");
        let asked = Pid::from_child(broker);
        let until = Instant::now() + STOP_MAX;
        // A broker that has ended already cannot be asked.
        let _ = kill_process(asked, Signal::TERM);
        while matches!(broker.try_wait(), Ok(None)) && Instant::now() < until {
            self.hear();
            self.feed_or_restart();
        }
        kernel::restart();
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

fn commit(identity: &Identity) {
    let slot = identity.slot.letter();
    match identity.commit() {
        Ok(()) => say!("slot {slot} is good"),
        Err(error) => {
            say!("slot {slot} cannot be named good, so the next start goes back: {error}");
        }
    }
}

/// Goes back to the other slot.
pub fn fail(identity: &Identity, why: &str) -> ! {
    let slot = identity.slot.letter();
    say!("slot {slot} is not good, and the device goes back to the other one: {why}");
    if let Err(error) = identity::end_update(identity.slot, "failed", why) {
        say!("the end of the update cannot be written: {error}");
    }
    kernel::restart();
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
    if console_has_tls() {
        // Its certificate is the owner's, and this process knows no CA.
        return;
    }
    for address in console.filter(|address| *address != "off") {
        match readiness(address) {
            Ok(answer) => say!("readiness: {}", answer.trim_end().replace('\n', "; ")),
            Err(error) => say!("readiness cannot be asked for at {address}: {error}"),
        }
    }
}

/// Returns whether the owner's configuration gives the console TLS.
fn console_has_tls() -> bool {
    let text = fs::read(OWN).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().filter(|line| line.contains("sedge.console"));
    lines.any(|line| line.contains("https://"))
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
