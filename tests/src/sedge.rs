//! A sedge process.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Process;
use crate::{limits, ports, tools};

/// Options for starting a broker, kept for starting it again.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--set KEY=VALUE`, with Kafka's names.
    pub settings: Vec<(String, String)>,
    /// The text of a configuration file.
    pub config: Option<String>,
    /// Other arguments of the command line.
    pub arguments: Vec<String>,
    /// Variables for the environment.
    pub variables: Vec<(String, String)>,
    /// Files and sockets that the process may have open, as `ulimit -n` says.
    pub open_files: Option<u64>,
    /// Listeners besides the plaintext one.
    pub listeners: Vec<String>,
    /// The console's address, if not a free port without TLS.
    pub console: Option<String>,
}

impl Options {
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.into(), value.to_string()));
        self
    }

    #[must_use]
    pub fn open_files(mut self, limit: u64) -> Self {
        self.open_files = Some(limit);
        self
    }

    #[must_use]
    pub fn listener(mut self, listener: impl Into<String>) -> Self {
        self.listeners.push(listener.into());
        self
    }

    #[must_use]
    pub fn console(mut self, address: impl Into<String>) -> Self {
        self.console = Some(address.into());
        self
    }

    #[must_use]
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = Some(toml.into());
        self
    }
}

/// A running broker, or one that was killed and can be started again on the same data and port.
#[derive(Debug)]
pub struct Sedge {
    data: PathBuf,
    port: u16,
    options: Options,
    process: Option<Process>,
    console: String,
    ready_in: Duration,
}

/// Returns the command line of `sedge serve`, without the streams set up.
pub fn serve(data: &Path, listen: &str, options: &Options) -> Command {
    let mut command = match options.open_files {
        Some(limit) => {
            let mut shell = Command::new("sh");
            let limited = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            shell.arg("-c").arg(limited).arg(tools::sedge());
            shell
        }
        None => Command::new(tools::sedge()),
    };
    // A broker would read its settings from variables of the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEDGE_") {
            command.env_remove(name);
        }
    }
    command.arg("serve");
    if let Some(text) = &options.config {
        std::fs::create_dir_all(data).expect("the data directory can be made");
        let path = data.with_extension("toml");
        std::fs::write(&path, text).expect("the configuration can be written");
        command.arg("--config").arg(path);
    }
    let listeners = options.listeners.iter().map(String::as_str);
    let listeners: Vec<&str> = std::iter::once(listen).chain(listeners).collect();
    command.arg("--data").arg(data);
    command.args(["--listen", &listeners.join(",")]);
    for (key, value) in &options.settings {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command.args(&options.arguments);
    command.envs(options.variables.iter().map(|(name, value)| (name, value)));
    command
}

impl Sedge {
    /// Starts on a free port and waits for the ready line.
    pub fn start(data: &Path, options: Options) -> Self {
        let mut sedge = Self {
            data: data.to_path_buf(),
            port: ports::free(),
            options,
            process: None,
            console: String::new(),
            ready_in: Duration::ZERO,
        };
        sedge.start_again();
        sedge
    }

    /// Starts again after [`Sedge::kill`] or [`Sedge::terminate`].
    pub fn start_again(&mut self) {
        let began = Instant::now();
        self.launch();
        let line = self
            .process()
            .wait_for("its ready line", limits::SEDGE_READY, |output| {
                output
                    .stdout
                    .iter()
                    .find(|line| line.starts_with("sedge ready:"))
                    .cloned()
            });
        self.ready_in = began.elapsed();
        self.console = field(&line, "console=");
        let listen = self.bootstrap();
        assert_eq!(
            field(&line, "kafka=").split(',').next(),
            Some(&*listen),
            "the ready line names the listener: {line}"
        );
    }

    /// Starts the process without waiting until it is ready.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "sedge is running");
        let mut command = serve(&self.data, &self.bootstrap(), &self.options);
        let console = self.options.console.as_deref();
        command.args(["--console", console.unwrap_or("127.0.0.1:0")]);
        self.process = Some(Process::spawn("sedge", &mut command));
    }

    /// Starts it and kills it `after` this time, ready or not.
    pub fn start_and_kill(&self, after: Duration) {
        let mut command = serve(&self.data, &self.bootstrap(), &self.options);
        command.args(["--console", "off"]);
        let mut process = Process::spawn("sedge", &mut command);
        std::thread::sleep(after);
        process.kill();
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the address of the console and the metrics as `HOST:PORT`.
    pub fn console(&self) -> &str {
        &self.console
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the time of the last start, from the process to its ready line.
    pub fn ready_in(&self) -> Duration {
        self.ready_in
    }

    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("sedge is running")
    }

    /// Waits for a line of the log with all of these.
    pub fn wait_log(&mut self, parts: &[&str]) {
        let what = format!("{parts:?} in the log");
        self.process().wait_for(&what, limits::CONDITION, |output| {
            let mut lines = output.stderr.iter();
            lines
                .any(|line| parts.iter().all(|part| line.contains(part)))
                .then_some(())
        });
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Sends SIGTERM, and waits for the controlled shutdown.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process().signal(Signal::TERM);
        let status = self.process().wait_exit(limits::SHUTDOWN);
        assert!(
            status.success(),
            "SIGTERM ends it with {status}\n{}",
            self.process().tail()
        );
        self.process = None;
        status
    }

    /// Fails with the log unless the process is alive.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.process().try_exit() {
            panic!("sedge ended by itself: {status}\n{}", self.process().tail());
        }
    }
}

/// Returns the word after `name` in a ready line.
fn field(line: &str, name: &str) -> String {
    let from = line
        .find(name)
        .unwrap_or_else(|| panic!("no {name} in {line:?}"))
        + name.len();
    line[from..]
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_string()
}
