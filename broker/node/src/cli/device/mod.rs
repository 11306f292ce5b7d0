//! `sedge device`: updates, restarts and describes devices with an image of sedge, through the
//! console of the broker there.

mod sign;
mod update;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::console::{Console, Purpose};
use crate::process::failure::Failure;
use crate::process::output::{self, Output, Table};

/// Update, restart and describe devices with an image of sedge.
#[derive(Debug, Args)]
pub struct DeviceCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Sign a slot image, which `cargo xtask image` made, for updates
    Sign(sign::Sign),
    /// Write a slot image to the slot of a device that does not run, restart the device, and wait
    /// until the slot is good or the device has gone back
    Update(update::Update),
    /// List devices: what runs there, and whether it is good
    List(List),
    /// Describe a device and its last update
    Info(One),
    /// Restart a device
    Reboot(One),
    /// Print the log that a device has in memory
    Logs(One),
}

/// The way to a device.
#[derive(Debug, Args)]
struct Reach {
    /// Properties file with sedge.console.device.token, and ssl.truststore.location with the CA of
    /// the device's certificate
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

#[derive(Debug, Args)]
struct One {
    /// Address of the device's console, port 9644 if it has none; http://HOST:PORT is for consoles
    /// without TLS, on loopback alone
    #[arg(long, value_name = "[http://]HOST[:PORT]")]
    host: String,
    #[command(flatten)]
    reach: Reach,
}

impl One {
    fn console(&self) -> Result<Console, Failure> {
        Console::of(
            Purpose::Device,
            &self.host,
            self.reach.command_config.as_deref(),
        )
    }
}

#[derive(Debug, Args)]
struct List {
    /// Address of a device's console, as of `device info`; can be given more than once
    #[arg(long, required = true, value_name = "[http://]HOST[:PORT]")]
    host: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

impl DeviceCommand {
    /// # Errors
    /// The device cannot be reached, or refuses.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Sign(sign) => sign.run(),
            Verb::Update(update) => update.run(),
            Verb::List(list) => list.run(),
            Verb::Info(one) => {
                let lines = one.console()?.get("/device")?;
                match one.reach.output {
                    Output::Text => output::line(format_args!("{}", lines.trim_end())),
                    Output::Json => output::json(&Value::Object(read(&lines))),
                }
            }
            Verb::Reboot(one) => {
                let told = one.console()?.send("POST", "/device/reboot", &[])?;
                output::line(format_args!("{}", told.trim_end()))
            }
            Verb::Logs(one) => {
                let lines = one.console()?.get("/device/logs")?;
                match one.reach.output {
                    Output::Text => output::line(format_args!("{}", lines.trim_end())),
                    Output::Json => output::json(&lines.lines().collect()),
                }
            }
        }
    }
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let columns = &[
            "host", "board", "slot", "state", "version", "built_ms", "why",
        ];
        let mut table = Table::new(columns).with_dates(&["built_ms"]);
        for host in &self.host {
            let console = Console::of(Purpose::Device, host, self.reach.command_config.as_deref())?;
            let row = match console.get("/device") {
                Ok(lines) => {
                    let mut of = read(&lines);
                    let mut take = |key: &str| of.remove(key).unwrap_or_default();
                    let built_ms = take("built").as_str().and_then(seconds_to_ms);
                    let why = take("update.why");
                    let mut text = |key: &str| take(key);
                    let (board, slot) = (text("board"), text("slot"));
                    let (state, version) = (text("state"), text("version"));
                    [
                        json!(host),
                        board,
                        slot,
                        state,
                        version,
                        json!(built_ms),
                        why,
                    ]
                }
                Err(failure) => {
                    let (none, why) = (Value::Null, json!(failure.what));
                    let state = json!("unreachable");
                    [
                        json!(host),
                        none.clone(),
                        none.clone(),
                        state,
                        none.clone(),
                        none,
                        why,
                    ]
                }
            };
            table.row(row);
        }
        table.print(self.reach.output)
    }
}

/// Reads lines `KEY=VALUE`.
fn read(lines: &str) -> Map<String, Value> {
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}

fn seconds_to_ms(seconds: &str) -> Option<u64> {
    seconds.parse::<u64>().ok()?.checked_mul(1_000)
}
