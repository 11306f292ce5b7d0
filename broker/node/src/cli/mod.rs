//! The command line. Every command that is listed works.

mod backup;
mod config;
mod connect;
mod console;
mod data;
mod demo;
mod device;
pub(crate) mod doctor;
mod flags;
mod group;
mod mirror;
mod plugin;
mod scrape;
mod security;
mod serve;
mod signing;
mod topic;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::failure::Exit;
use crate::process::{core_dumps, output};

/// A Kafka broker for the edge.
#[derive(Debug, Parser)]
#[command(
    name = "sedge",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command, sedge runs the broker: data in ./sedge-data, listening on \
                  127.0.0.1:9092."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(serve::Serve),
    /// List, describe, create, change and delete topics.
    Topic(topic::TopicCommand),
    /// List and describe consumer groups.
    Group(group::GroupCommand),
    /// Run a demonstration: sensors, an edge broker with a filter, a mirror to a second broker.
    Demo(demo::Demo),
    /// Build, test, measure, inspect, compile, import, deploy, list and delete plugins.
    Plugin(plugin::PluginCommand),
    /// Create, list, describe, change, pause and delete mirror links, and move their cursors.
    Mirror(mirror::MirrorCommand),
    /// Check a data directory while no broker runs on it.
    Doctor(doctor::DoctorCommand),
    /// Back up a broker's data while the broker runs.
    Backup(backup::BackupCommand),
    /// Make certificates for listeners and clients.
    Security(security::SecurityCommand),
    /// Update, restart and describe devices with an image of sedge.
    Device(device::DeviceCommand),
    /// Check or show the configuration.
    Config(config::ConfigCommand),
    /// Print the version, and the newest format of data that is read.
    Version,
}

/// Runs the process.
pub fn main() -> ExitCode {
    core_dumps::refuse();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        None => cli.serve.run(),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Topic(command)) => command.run(),
        Some(Command::Group(command)) => command.run(),
        Some(Command::Demo(demo)) => demo.run(),
        Some(Command::Plugin(command)) => command.run(),
        Some(Command::Mirror(command)) => command.run(),
        Some(Command::Doctor(command)) => command.run(),
        Some(Command::Backup(command)) => command.run(),
        Some(Command::Security(command)) => command.run(),
        Some(Command::Device(command)) => command.run(),
        Some(Command::Config(command)) => command.run(),
        Some(Command::Version) => output::line(format_args!(
            "sedge {}\ndata format {}",
            crate::VERSION,
            sedge_storage::FORMAT
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // A reader that closed the pipe does not make the command fail.
    let _ = error.print();
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(Exit::Usage as u8),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_without_a_command_are_those_of_serve() {
        let cli = Cli::try_parse_from(["sedge", "--data", "d", "--set", "a=b"]).unwrap();
        assert!(cli.command.is_none());
        assert!(Cli::try_parse_from(["sedge", "--data", "d", "version"]).is_err());
        assert!(Cli::try_parse_from(["sedge", "serve", "--listen", "x:1"]).is_ok());
    }
}
