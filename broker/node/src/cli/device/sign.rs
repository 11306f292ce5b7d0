//! `sedge device sign`: signs a slot image for the devices that trust the key.

use std::path::{Path, PathBuf};

use clap::Args;
use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::cli::signing;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};

/// Begins what is signed, so that a signature is good for nothing else. The same bytes are in the
/// init of images.
const PURPOSE: &[u8] = b"sedge slot image\0\0";
/// What a slot image begins with.
const BEGIN: &[u8] = b"sedge slot image ";
/// Bytes of a head, at most.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Sign a slot image.
#[derive(Debug, Args)]
#[command(after_help = "\
`openssl genpkey -algorithm ed25519 -out KEY` makes a key. The images of the devices need the public
key that this command prints: `cargo xtask image --trusted-key`, or update.trusted.keys in
device.properties. `sedge device update FILE` finds the signature.")]
pub struct Sign {
    /// The file BOARD.slot that `cargo xtask image` made
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
        let image = read(&self.file)?;
        let written = signing::sign(&self.file, &message(head(&self.file, &image)?), &self.key)?;
        let mut table = Table::new(&["signature", "public_key"]);
        let shown = written.file.display().to_string();
        table.row([json!(shown), json!(written.public_key)]);
        table.print(self.output)
    }
}

/// Returns what is signed.
fn message(head: &[u8]) -> Vec<u8> {
    [PURPOSE, digest(&SHA256, head).as_ref()].concat()
}

/// Reads a slot image.
///
/// # Errors
/// The file cannot be read.
pub fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        let what = format!("cannot read {}: {error}", file.display());
        Failure::new(Exit::Io, what)
    })
}

/// Returns the head of an image, with the empty line at its end.
///
/// # Errors
/// The image has none.
pub fn head<'a>(file: &Path, image: &'a [u8]) -> Result<&'a [u8], Failure> {
    let begin = image.get(..HEAD_BYTES_MAX).unwrap_or(image);
    let end = begin.windows(2).position(|two| two == b"\n\n");
    let head = end.and_then(|end| image.get(..end + 2));
    head.filter(|head| head.starts_with(BEGIN)).ok_or_else(|| {
        let what = format!("{} is no slot image", file.display());
        Failure::new(Exit::Data, what).advise("`cargo xtask image` makes one: BOARD.slot")
    })
}

#[cfg(test)]
mod tests {
    use ring::signature::Ed25519KeyPair;
    use sedge_core::base64;

    use super::*;

    /// The same signature is in the tests of the init's `slot_image.rs`.
    #[test]
    fn the_init_knows_the_signature() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let signature = key.sign(&message(b"sedge slot image 1\nboard=b\n\n"));
        let expected = "CwR4g7hpAlgsVurgZbLOhbEJ0CmQMyt0FBQHjikTGivarON6AykM7K/HFkmRSxx6fqPw\
                        ucN35WO7ALKNK0MnCA==";
        assert_eq!(base64::encode(signature.as_ref()), expected);
    }

    #[test]
    fn the_head_ends_with_an_empty_line() {
        let head_of = |image: &[u8]| head(Path::new("x"), image).ok().map(<[u8]>::len);
        assert_eq!(head_of(b"sedge slot image 1\na=b\n\nparts\n\n"), Some(24));
        assert_eq!(head_of(b"sedge slot image 1\na=b\n"), None);
        assert_eq!(head_of(b"\n\n"), None);
    }
}
