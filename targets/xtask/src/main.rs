//! `cargo xtask`: setup, build, sizes, tests, demo, benchmarks, fuzzing and lists of parts, each as
//! one command.
//!
//! Two of its tasks are all that a newcomer needs: `cargo xtask demo` and `cargo xtask test`. Both
//! set the machine up first.

#![allow(clippy::print_stdout, reason = "a task's output is what it is for")]

mod beside;
mod board_file;
mod build;
mod builds;
mod debian;
mod demo;
mod error;
mod firmware;
mod fuzz;
mod image;
mod lint;
mod packages;
mod packaging;
mod process;
mod sbom;
mod setup;
mod sizes;
mod stages;
mod tally;
mod target_file;
mod test;
mod tidy;
mod unit;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    board_file::Board,
    build::{Compiler, HOST_TRIPLE},
    error::Result,
    setup::Purpose,
    target_file::Target,
    workspace::Workspace,
};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Setup, build, sizes, tests, demo, benchmarks, fuzzing"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check which tools this machine has, and install those that are missing
    Setup {
        #[arg(long = "for", value_enum, default_value = "all")]
        purpose: Purpose,
    },
    /// Build the broker for a target (release profile)
    Build {
        /// Name of a file in targets/, without .toml
        #[arg(long, default_value = HOST_TRIPLE)]
        target: String,
        /// Leave the plugin compiler out (targets without `compiler = true` never have it)
        #[arg(long)]
        no_jit: bool,
    },
    /// Make a bootable image for a board, without root
    Image {
        /// Name of a file in boards/, without .toml
        #[arg(long)]
        board: String,
        /// A sedge.toml, whose settings come after the board's
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A broker for the board's target that was built before; otherwise it is built
        #[arg(long, value_name = "FILE")]
        broker: Option<PathBuf>,
        /// Directory of the image [default: images in cargo's target directory]
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// A public key whose updates the device takes; can be given more than once
        #[arg(long, value_name = "KEY")]
        trusted_key: Vec<String>,
        /// A public key whose updates the device takes no more; can be given more than once
        #[arg(long, value_name = "KEY")]
        revoked_key: Vec<String>,
    },
    /// Write a board's image to a card or disk, and check what was written
    Flash {
        #[arg(long)]
        board: String,
        /// The whole disk, such as /dev/sdb; its content is lost
        #[arg(long)]
        device: PathBuf,
    },
    /// Boot the image of a qemu- board on this machine
    Run {
        #[arg(long)]
        board: String,
        /// The card; a copy of the image if it is not there yet
        #[arg(long, value_name = "FILE")]
        card: Option<PathBuf>,
        /// Memory in MiB [default: the board's]
        #[arg(long, value_name = "MIB")]
        memory: Option<u32>,
        /// A port of this machine for one of the device; can be given more than once
        #[arg(long, value_name = "HOST:DEVICE", default_values = ["9092:9092", "9644:9644"])]
        forward: Vec<String>,
        /// Log all writes and flushes of the card to FILE
        #[arg(long, value_name = "FILE")]
        write_log: Option<PathBuf>,
    },
    /// Make packages for machines that have an operating system: deb, tarball, oci
    Package {
        #[arg(value_enum)]
        form: packaging::Form,
        /// Name of a file in targets/, without .toml; can be given more than once
        #[arg(long, required = true)]
        target: Vec<String>,
        /// A broker for the target that was built before, one for each; otherwise it is built
        #[arg(long, value_name = "FILE")]
        broker: Vec<PathBuf>,
        /// Directory of the packages [default: packages in cargo's target directory]
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Build with and without the plugin compiler, and check the sizes of binaries and images
    /// against their budgets
    Sizes,
    /// Set up, build, and run the unit tests, the tests with real clients, the ARM test and the
    /// sizes
    Test {
        /// One stage: unit, arm, sizes, or a file of tests/tests
        #[arg(long)]
        only: Option<String>,
        /// Run the long variants, with many more kills, power cuts and rounds of the clients
        #[arg(long)]
        soak: bool,
        /// Run clippy too, beside the release builds
        #[arg(long)]
        lints: bool,
    },
    /// Set up, build, and run `sedge demo` with the given arguments, such as `--for 20s`
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a benchmark: kafka, tails, start, memory, metadata, retention, scale, write-amp,
    /// compaction, catch-up, validation, acls, quotas, tls, connections, fetch-filter, groups
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Build the example of a device of a gateway, and check its flash and RAM
    Firmware,
    /// Fuzz one decoder, or each in turn
    Fuzz {
        target: Option<String>,
        /// Minutes per decoder
        #[arg(long, default_value_t = 1)]
        minutes: u32,
    },
    /// List what the broker for a target is made of, as CycloneDX in JSON
    Sbom {
        /// Name of a file in targets/, without .toml
        #[arg(long, default_value = HOST_TRIPLE)]
        target: String,
        /// File to write [default: sedge-TARGET.cdx.json in cargo's target directory]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check the style rules, licences and sources that a machine can check
    Tidy,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::find();
    match task {
        Task::Setup { purpose } => setup::run(&workspace, purpose),
        Task::Build { target, no_jit } => build_one(&workspace, &target, no_jit),
        Task::Image {
            board,
            config,
            broker,
            directory,
            trusted_key,
            revoked_key,
        } => {
            let inputs = image::Inputs {
                config,
                broker,
                directory,
                trusted_keys: trusted_key,
                revoked_keys: revoked_key,
            };
            image::make(&workspace, &Board::read(&workspace, &board)?, &inputs).map(drop)
        }
        Task::Flash { board, device } => {
            image::flash::run(&workspace, &Board::read(&workspace, &board)?, &device)
        }
        Task::Run {
            board,
            card,
            memory,
            forward,
            write_log,
        } => {
            let options = image::run::Options {
                card,
                memory_mib: memory,
                forwards: forward,
                write_log,
            };
            image::run::run(&workspace, &Board::read(&workspace, &board)?, &options)
        }
        Task::Package {
            form,
            target,
            broker,
            directory,
        } => {
            let inputs = packaging::Inputs {
                targets: target,
                brokers: broker,
                directory,
            };
            packaging::run(&workspace, form, &inputs)
        }
        Task::Sizes => {
            setup::run(&workspace, Purpose::Demo)?;
            sizes::run(&workspace)
        }
        Task::Test { only, soak, lints } => {
            test::run(&workspace, &test::Selection { only, soak, lints })
        }
        Task::Demo { arguments } => demo::demo(&workspace, &arguments),
        Task::Bench { arguments } => demo::bench(&workspace, &arguments),
        Task::Firmware => firmware::run(&workspace),
        Task::Fuzz { target, minutes } => fuzz::run(
            &workspace,
            &fuzz::Selection {
                only: target,
                minutes,
            },
        ),
        Task::Sbom { target, output } => {
            let target = Target::read(&workspace, &target)?;
            sbom::run(&workspace, &target, output.as_deref())
        }
        Task::Tidy => tidy::run(&workspace),
    }
}

fn build_one(workspace: &Workspace, triple: &str, no_jit: bool) -> Result<()> {
    let target = Target::read(workspace, triple)?;
    setup::for_target(workspace, &target)?;
    let compiler = if target.compiler && !no_jit {
        Compiler::In
    } else {
        Compiler::Out
    };
    let built = build::run(workspace, &target, compiler)?;
    println!(
        "built {} in {:.0} s: {:.2} MiB; its budget of resident memory when idle is {} MiB",
        built.binary.display(),
        built.took.as_secs_f64(),
        built.mib(),
        target.budget.rss_idle_max_mib,
    );
    Ok(())
}
