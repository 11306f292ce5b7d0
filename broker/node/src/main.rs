//! `sedge`: the broker's process and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    sedge::cli::main()
}
