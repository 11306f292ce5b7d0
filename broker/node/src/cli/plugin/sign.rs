//! `sedge plugin sign`: signs a plugin for brokers that ask for that.

use std::path::PathBuf;

use clap::Args;
use sedge_protocol::plugin_records;
use serde_json::json;

use super::code;
use crate::cli::signing;
use crate::plugins::signatures::message;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};

/// Sign a plugin.
#[derive(Debug, Args)]
#[command(after_help = "\
`openssl genpkey -algorithm ed25519 -out KEY` makes a key. The brokers need the public key that this
command prints, in plugin.trusted.keys. `sedge plugin deploy NAME FILE` finds the signature.")]
pub struct Sign {
    /// Name under which the plugin will be deployed; the signature is for this name alone
    name: String,
    /// File that `plugin build` or `plugin compile` made
    file: PathBuf,
    /// File with an Ed25519 private key, in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl Sign {
    /// # Errors
    /// A file cannot be read or written, or the key is none.
    pub fn run(&self) -> Result<(), Failure> {
        let name = &self.name;
        plugin_records::check_name(name).map_err(|why| Failure::new(Exit::Usage, why))?;
        let content = code::read(&self.file)?;
        let written = signing::sign(&self.file, &message(name, &content), &self.key)?;
        let mut table = Table::new(&["name", "signature", "public_key"]);
        let shown = written.file.display().to_string();
        table.row([json!(name), json!(shown), json!(written.public_key)]);
        table.print(self.output)
    }
}
