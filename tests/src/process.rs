//! A running program whose output is read line by line as it comes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits;

/// What a program has written so far.
#[derive(Debug, Default)]
pub struct Output {
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    ended: u8,
}

#[derive(Debug, Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child process, killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
    exit: Option<ExitStatus>,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts `command` with its three streams piped.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let shared = Arc::new(Shared::default());
        read_lines(
            child.stdout.take().expect("stdout is piped"),
            &shared,
            |o| &mut o.stdout,
        );
        read_lines(
            child.stderr.take().expect("stderr is piped"),
            &shared,
            |o| &mut o.stderr,
        );
        let stdin = child.stdin.take();
        Self {
            name: name.into(),
            child,
            stdin,
            shared,
            exit: None,
        }
    }

    /// Runs `command` to its end with `input` on its standard input.
    pub fn run(name: &str, command: &mut Command, input: &[u8], limit: Duration) -> Finished {
        let mut process = Self::spawn(name, command);
        if !input.is_empty() {
            let mut stdin = process.stdin.take().expect("not taken yet");
            let bytes = input.to_vec();
            // In a thread of its own: a program may write before it has read everything. A program
            // that ends early closes the pipe; its exit code says why.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        process.close_stdin();
        let status = process.wait_exit(limit);
        let output = process.output();
        Finished {
            status,
            stdout: output.stdout.join("\n"),
            stderr: output.stderr.join("\n"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to the program's standard input. Blocks while the pipe is full.
    pub fn write_stdin(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input was not ended");
        let written = stdin.write_all(bytes).and_then(|()| stdin.flush());
        written.unwrap_or_else(|error| panic!("{}: standard input: {error}", self.name));
    }

    /// Ends the program's standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            let pid = Pid::from_child(&self.child);
            // The program may have ended by itself a moment ago.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills with SIGKILL and reaps.
    pub fn kill(&mut self) {
        if self.exit.is_none() {
            // As above.
            let _ = self.child.kill();
            self.exit = self.child.wait().ok();
        }
    }

    /// Returns the exit status if the program has ended.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("the child is ours");
        }
        self.exit
    }

    /// Waits for the end of the program and of its output.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_exit() {
                self.drain(deadline.max(Instant::now() + Duration::from_secs(1)));
                return status;
            }
            if Instant::now() > deadline {
                self.fail("did not end", limit);
            }
            std::thread::sleep(limits::POLL);
        }
    }

    /// Waits until `look` returns a value for the output.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Output) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            let (found, ended) = {
                let output = self.shared.lock();
                (look(&output), output.ended == 2)
            };
            if let Some(found) = found {
                return found;
            }
            if ended {
                self.fail(&format!("ended before {what}"), limit);
            }
            let now = Instant::now();
            if now > deadline {
                self.fail(&format!("has not come to {what}"), limit);
            }
            let output = self.shared.lock();
            // The wait can also be ended by other conditions than new output, so check again now
            // and then.
            let wait = (deadline - now).min(Duration::from_millis(200));
            drop(self.shared.changed.wait_timeout(output, wait));
        }
    }

    /// Returns a guard for the output so far.
    pub fn output(&self) -> MutexGuard<'_, Output> {
        self.shared.lock()
    }

    /// Returns the ends of its output, for a message.
    pub fn tail(&self) -> String {
        let output = self.shared.lock();
        let end = |lines: &[String]| {
            let from = lines.len().saturating_sub(limits::TAIL_LINES);
            lines[from..]
                .iter()
                .map(|l| clip(l))
                .collect::<Vec<_>>()
                .join("\n")
        };
        format!(
            "--- {} stdout\n{}\n--- {} stderr\n{}\n---",
            self.name,
            end(&output.stdout),
            self.name,
            end(&output.stderr)
        )
    }

    fn drain(&self, deadline: Instant) {
        let mut output = self.shared.lock();
        while output.ended < 2 && Instant::now() < deadline {
            let wait = self
                .shared
                .changed
                .wait_timeout(output, Duration::from_millis(100));
            output = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn fail(&self, what: &str, limit: Duration) -> ! {
        panic!("{} {what} within {limit:?}\n{}", self.name, self.tail());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() && std::env::var_os("SEDGE_TEST_TAILS").is_some() {
            let _ = writeln!(std::io::stderr(), "{}", self.tail());
        }
    }
}

fn clip(line: &str) -> &str {
    line.char_indices()
        .nth(300)
        .map_or(line, |(end, _)| &line[..end])
}

fn read_lines(
    source: impl Read + Send + 'static,
    shared: &Arc<Shared>,
    lines: fn(&mut Output) -> &mut Vec<String>,
) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches(['\n', '\r'])
                .to_string();
            lines(&mut shared.lock()).push(text);
            shared.changed.notify_all();
            line.clear();
        }
        shared.lock().ended += 1;
        shared.changed.notify_all();
    });
}
