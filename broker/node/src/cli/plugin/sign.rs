//! `sedge plugin sign`: signs a plugin for brokers that ask for that.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sedge_core::{base64, x509::pem};
use sedge_protocol::plugin_records;
use serde_json::json;
use zeroize::Zeroizing;

use super::code;
use crate::config::print_public_key;
use crate::plugins::signatures::message;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};

/// What a signature's file is called, behind the plugin's.
const SUFFIX: &str = ".sig";

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
        let key = key(&self.key)?;
        let signature = key.sign(&message(name, &content));
        let file = signature_file(&self.file);
        let text = base64::encode(signature.as_ref()) + "\n";
        fs::write(&file, text).map_err(|error| {
            Failure::new(
                Exit::Io,
                format!("cannot write {}: {error}", file.display()),
            )
        })?;
        let public = key.public_key().as_ref().try_into();
        let public = public.expect("a key has 32 bytes");
        let mut table = Table::new(&["name", "signature", "public_key"]);
        let shown = file.display().to_string();
        table.row([json!(name), json!(shown), json!(print_public_key(&public))]);
        table.print(self.output)
    }
}

fn key(path: &Path) -> Result<Ed25519KeyPair, Failure> {
    let refused = |why: &str| {
        Failure::new(Exit::Data, format!("{}: {why}", path.display()))
            .advise("`openssl genpkey -algorithm ed25519 -out KEY` makes a key")
    };
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| refused(&error.to_string()))?;
    let blocks = pem::blocks(&text).map_err(refused)?;
    let block = blocks.iter().find(|block| block.label == "PRIVATE KEY");
    let block = block.ok_or_else(|| refused("the file has no private key in PEM"))?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&block.der)
        .map_err(|_| refused("this is no Ed25519 private key"))
}

/// Returns the signature of a plugin, if there is a file with it.
///
/// # Errors
/// The file cannot be read, or has no signature.
pub fn signature(plugin: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let file = signature_file(plugin);
    let refused = |why: &str| {
        let what = format!("{}: {why}", file.display());
        Failure::new(Exit::Data, what).advise("`sedge plugin sign` writes such a file")
    };
    match fs::read_to_string(&file) {
        Ok(text) => {
            let signature = base64::decode(text.trim());
            signature
                .map(Some)
                .ok_or_else(|| refused("this is no signature"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(&error.to_string())),
    }
}

fn signature_file(plugin: &Path) -> PathBuf {
    let mut name = plugin.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}
