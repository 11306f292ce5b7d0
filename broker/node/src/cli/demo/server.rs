//! A broker as a separate process.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::limits;
use crate::process::failure::{Exit, Failure};

/// A running broker.
#[derive(Debug)]
pub struct Server {
    /// Its name on the screen.
    pub name: String,
    /// The address for Kafka clients.
    pub kafka: String,
    /// The console's address.
    pub console: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts this program as a broker, on free ports, with settings as `KEY=VALUE`.
    ///
    /// # Errors
    /// The broker does not become ready.
    pub fn start(name: &str, directory: &Path, settings: &[&str]) -> Result<Self, Failure> {
        let log = directory.join(format!("{name}.log"));
        let data = directory.join(name);
        let failed =
            |error: &std::io::Error| Failure::io(&format!("start the broker {name}"), error);
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--console",
            "127.0.0.1:0",
        ]);
        command
            .args(["--set", "sedge.profile=small", "--data"])
            .arg(data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let stderr = File::create(&log).map_err(|error| failed(&error))?;
        // A separate process group, so that Ctrl-C reaches only the demo, which then stops its
        // brokers in order.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        // The demo's own configuration is not meant for its brokers.
        command.env_remove("SEDGE_CONFIG");
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let ready = wait_until_ready(&mut child);
        let mut server = Self {
            name: name.to_owned(),
            kafka: String::new(),
            console: String::new(),
            child,
            log,
        };
        let Some(line) = ready else {
            let what = format!("the broker {name} did not become ready");
            return Err(Failure::new(Exit::Unavailable, what).advise(server.log_tail()));
        };
        for word in line.split(' ') {
            match word.split_once('=') {
                Some(("kafka", address)) => address.clone_into(&mut server.kafka),
                Some(("console", address)) => address.clone_into(&mut server.console),
                _ => {}
            }
        }
        Ok(server)
    }

    /// Returns the last lines of the broker's log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(limits::LOG_LINES)..)
            .unwrap_or_default();
        format!(
            "the last lines of {}'s log:\n{}",
            self.name,
            tail.join("\n")
        )
    }

    /// Shuts the broker down.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The process may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + limits::STOP_TIME_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// Returns the line that a broker prints when it is ready; `None` if the broker ends or takes too
/// long.
fn wait_until_ready(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    // A thread, because reading a pipe has no timeout. It ends with the broker.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("sedge ready:") {
                let _ = send.send(line);
            }
        }
    });
    receive.recv_timeout(limits::START_TIME_MAX).ok()
}
