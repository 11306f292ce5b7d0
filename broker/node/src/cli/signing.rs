//! Signs files, and finds their signatures: those of plugins and those of slot images.

use std::fs;
use std::path::{Path, PathBuf};

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sedge_core::{base64, x509::pem};
use zeroize::Zeroizing;

use crate::config::print_public_key;
use crate::process::failure::{Exit, Failure};

/// What a signature's file is called, behind the signed one's.
const SUFFIX: &str = ".sig";

/// A signature that was written.
#[derive(Debug)]
pub struct Written {
    pub file: PathBuf,
    pub public_key: String,
}

/// Signs `message` with the private key in the file `key`, and writes the signature beside
/// `signed`.
///
/// # Errors
/// A file cannot be read or written, or the key is none.
pub fn sign(signed: &Path, message: &[u8], key: &Path) -> Result<Written, Failure> {
    let key = read_key(key)?;
    let signature = key.sign(message);
    let file = signature_file(signed);
    let text = base64::encode(signature.as_ref()) + "\n";
    fs::write(&file, text).map_err(|error| {
        Failure::new(
            Exit::Io,
            format!("cannot write {}: {error}", file.display()),
        )
    })?;
    let public = key.public_key().as_ref().try_into();
    let public = public.expect("a key has 32 bytes");
    Ok(Written {
        file,
        public_key: print_public_key(&public),
    })
}

/// Returns the signature of a file, if there is one beside it that `command` wrote.
///
/// # Errors
/// The file cannot be read, or has no signature.
pub fn signature(signed: &Path, command: &str) -> Result<Option<Vec<u8>>, Failure> {
    let file = signature_file(signed);
    let refused = |why: &str| {
        let what = format!("{}: {why}", file.display());
        Failure::new(Exit::Data, what).advise(format!("`{command}` writes such a file"))
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

fn read_key(path: &Path) -> Result<Ed25519KeyPair, Failure> {
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

fn signature_file(signed: &Path) -> PathBuf {
    let mut name = signed.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}
