//! PEM (RFC 7468): blocks of base64 between lines with their label. As in Kafka's
//! `ssl.keystore.key` and similar keys, a whole block may be one line.

use alloc::string::String;
use alloc::vec::Vec;

use crate::base64;

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The text behind `BEGIN`: `CERTIFICATE`, `PRIVATE KEY`.
    pub label: String,
    pub der: Vec<u8>,
}

/// Reads all blocks of `text`, ignoring what is between them.
///
/// # Errors
/// The reason why the first invalid block is refused.
pub fn blocks(text: &str) -> Result<Vec<Block>, &'static str> {
    const BEGIN: &str = "-----BEGIN ";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(BEGIN) {
        let (label, behind) = behind
            .split_once("-----")
            .ok_or("a BEGIN line does not end in -----")?;
        let (body, behind) = behind
            .split_once("-----END ")
            .ok_or("a block has no END line")?;
        let (end, behind) = behind
            .split_once("-----")
            .ok_or("an END line does not end in -----")?;
        if body.contains(BEGIN) || end != label {
            return Err("a block has no END line of its own");
        }
        if body.contains(':') {
            return Err(
                "a private key has the encryption of OpenSSL before PKCS#8; convert it with \
                 `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
            );
        }
        blocks.push(Block {
            label: label.into(),
            der: base64::decode_lines(body).ok_or("a block is not base64")?,
        });
        rest = behind;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_in_one_line_and_in_many() {
        let text = "a comment\n-----BEGIN CERTIFICATE-----\nZm9v\nYmFy\n-----END CERTIFICATE-----\n\
                    subject=x\n-----BEGIN PRIVATE KEY----- Zm9v -----END PRIVATE KEY-----";
        let found = blocks(text).unwrap();
        let found: Vec<_> = found.iter().map(|of| (&*of.label, &*of.der)).collect();
        assert_eq!(
            found,
            [
                ("CERTIFICATE", &b"foobar"[..]),
                ("PRIVATE KEY", &b"foo"[..])
            ]
        );
        assert_eq!(blocks("nothing"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, part: &str| {
            let why = blocks(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        };
        check("-----BEGIN A", "BEGIN line");
        check("-----BEGIN A-----\nZm9v", "no END");
        check("-----BEGIN A-----\nZm9v-----END A", "END line");
        check("-----BEGIN A-----\nZm9v-----END B-----", "of its own");
        check(
            "-----BEGIN A-----\n-----BEGIN B-----\nZm9v-----END A-----",
            "of its own",
        );
        check("-----BEGIN A-----\nZm9\n-----END A-----", "base64");
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nZm9v\n-----END RSA PRIVATE KEY-----",
            "pkcs8",
        );
    }
}
