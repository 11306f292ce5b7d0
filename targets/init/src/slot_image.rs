//! Slot images, which updates consist of: a head of lines, an empty line, and the parts.
//!
//! ```text
//! sedge slot image 1
//! board=qemu-arm64
//! version=0.1.0
//! built=1795812000
//! data.format=1
//! options=console=ttyAMA0 quiet
//! part=root 9437184 SHA256
//! part=vmlinuz 33554432 SHA256
//! part=initrd 2097152 SHA256
//! ```
//!
//! The parts follow in the order of their lines. The signature is one of the head, and the head has
//! the digests of the parts, so a device knows before it writes anything who made the image.
//!
//! **Invariant:** a head without a signature of a trusted key that is not revoked is never read as
//! a head (`Signed::check` is what returns one).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::keys::{PublicKey, from_base64};

/// The first line; a later form of images has another number.
const FIRST_LINE: &str = "sedge slot image 1";
/// Bytes of a head: some ten lines, of which the kernel's command line is the longest (2,048).
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Begins what is signed, so that a signature is good for nothing else. The same bytes are in
/// `sedge device sign`.
const PURPOSE: &[u8] = b"sedge slot image\0\0";
/// The parts of an image, each of which it has once.
pub const PARTS: [&str; 3] = ["root", "vmlinuz", "initrd"];

/// SHA-256 of a part.
pub type Sha256 = [u8; 32];

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The board that the image is for.
    pub board: String,
    /// The broker's version.
    pub version: String,
    /// Seconds since 1970 of the commit that the image was made from.
    pub built: u64,
    /// The newest format of data that the broker reads.
    pub data_format: u32,
    /// The kernel's command line, without the slot.
    pub options: String,
    pub parts: Vec<Part>,
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// One of [`PARTS`].
    pub name: String,
    pub bytes: u64,
    pub sha256: Sha256,
}

/// Reason why an image is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The signature is not one of a trusted key for this head.
    Untrusted,
    /// The key that signed is revoked.
    Revoked,
    /// The head does not begin as that of a slot image.
    NotAnImage,
    /// A line cannot be read.
    Line(String),
    /// A line is lacking.
    Lacks(&'static str),
    /// The parts are others than [`PARTS`].
    Parts,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str(
                "no key that the device trusts has signed it; sign it with one of those, by `sedge \
                 device sign`",
            ),
            Self::Revoked => f.write_str(
                "the key that signed it is revoked on the device; sign it with another one, by \
                 `sedge device sign`",
            ),
            Self::NotAnImage => write!(
                f,
                "its first line is not `{FIRST_LINE}`; `cargo xtask image` makes BOARD.slot"
            ),
            Self::Line(line) => write!(f, "the line `{line}` of its head cannot be read"),
            Self::Lacks(key) => write!(f, "its head has no line `{key}=`"),
            Self::Parts => write!(f, "its parts are not {}", PARTS.join(", ")),
        }
    }
}

/// A head with its signature, as they came.
#[derive(Debug)]
pub struct Signed<'a> {
    /// With the empty line at its end.
    pub head: &'a str,
    /// In base64.
    pub signature: &'a str,
}

impl Signed<'_> {
    /// Returns the head if one of the `trusted` keys has signed it that is not `revoked`.
    pub fn check(&self, trusted: &[PublicKey], revoked: &[PublicKey]) -> Result<Head, Wrong> {
        let signature = from_base64(self.signature).ok_or(Wrong::Untrusted)?;
        let message = [PURPOSE, digest(&SHA256, self.head.as_bytes()).as_ref()].concat();
        let has_signed = |key: &PublicKey| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(&message, &signature).is_ok()
        };
        let signer = trusted.iter().chain(revoked).find(|key| has_signed(key));
        match signer {
            None => Err(Wrong::Untrusted),
            Some(key) if revoked.contains(key) => Err(Wrong::Revoked),
            Some(_) => Head::read(self.head),
        }
    }
}

impl Head {
    /// Returns the head's text, with the empty line at its end.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nboard={}\nversion={}\nbuilt={}\ndata.format={}\noptions={}\n",
            self.board, self.version, self.built, self.data_format, self.options
        );
        // Writing to a string does not fail.
        for part in &self.parts {
            let _ = write!(text, "part={} {} ", part.name, part.bytes);
            for byte in part.sha256 {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        text.push('\n');
        text
    }

    /// Reads a head. Lines with other keys are for later versions of the init.
    fn read(text: &str) -> Result<Self, Wrong> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(Wrong::NotAnImage);
        }
        let (mut values, mut parts) = (BTreeMap::new(), Vec::new());
        for line in lines.filter(|line| !line.is_empty()) {
            let wrong = || Wrong::Line(line.to_owned());
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            if key == "part" {
                parts.push(Part::read(value).ok_or_else(wrong)?);
            } else {
                values.insert(key, value);
            }
        }
        let mut names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        names.sort_unstable();
        let mut expected = PARTS;
        expected.sort_unstable();
        if names != expected {
            return Err(Wrong::Parts);
        }
        let text = |key| values.get(key).copied().ok_or(Wrong::Lacks(key));
        let line = |key: &str, value: &str| Wrong::Line(format!("{key}={value}"));
        let (built, format) = (text("built")?, text("data.format")?);
        Ok(Self {
            board: text("board")?.to_owned(),
            version: text("version")?.to_owned(),
            built: built.parse().map_err(|_| line("built", built))?,
            data_format: format.parse().map_err(|_| line("data.format", format))?,
            options: text("options")?.to_owned(),
            parts,
        })
    }
}

impl Part {
    /// Describes the bytes of a part.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        let mut sha256 = Sha256::default();
        sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (name, bytes, digits) = (words.next()?, words.next()?, words.next()?);
        if digits.len() != 64 || !digits.is_ascii() || words.next().is_some() {
            return None;
        }
        let mut sha256 = Sha256::default();
        for (at, byte) in sha256.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        Some(Self {
            name: name.to_owned(),
            bytes: bytes.parse().ok()?,
            sha256,
        })
    }
}

/// Machine of the programs that UEFI starts here (PE format, `IMAGE_FILE_MACHINE`).
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 0x8664;
#[cfg(not(target_arch = "x86_64"))]
const MACHINE: u16 = 0xAA64;
/// Bytes of a program that have its header.
pub const PROGRAM_HEAD_BYTES: usize = 4096;

/// Returns whether a file that begins like this is a program that UEFI can start on this machine.
/// If it is none, the firmware has nothing left to start and waits, so there is no way back.
pub fn is_program(begin: &[u8]) -> bool {
    let offset = begin.get(0x3C..0x40).and_then(|at| at.try_into().ok());
    let at = offset.map_or(usize::MAX, |at| u32::from_le_bytes(at) as usize);
    let header = begin.get(at..).unwrap_or_default();
    let machine = [b"PE\0\0", &MACHINE.to_le_bytes()[..]].concat();
    begin.starts_with(b"MZ") && header.starts_with(&machine)
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn head() -> Head {
        Head {
            board: "qemu-arm64".to_owned(),
            version: "0.1.0".to_owned(),
            built: 1_795_812_000,
            data_format: 1,
            options: "console=ttyAMA0 quiet".to_owned(),
            parts: PARTS.map(|name| Part::of(name, name.as_bytes())).into(),
        }
    }

    /// Returns the public key of a seed, and its signature of a head.
    fn signed(seed: u8, head: &str) -> (PublicKey, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let message = [PURPOSE, digest(&SHA256, head.as_bytes()).as_ref()].concat();
        let signature = pair.sign(&message);
        let public = pair.public_key().as_ref().try_into().unwrap();
        (public, to_base64(signature.as_ref()))
    }

    fn to_base64(bytes: &[u8]) -> String {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=three.len()].copy_from_slice(three);
            let bits = u32::from_be_bytes(bits);
            for digit in 0..4 {
                let value = (bits >> (18 - 6 * digit) & 63) as usize;
                text.push(if digit > three.len() {
                    '='
                } else {
                    digits[value] as char
                });
            }
        }
        text
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        assert_eq!(Head::read(&head().text()), Ok(head()));
    }

    #[test]
    fn a_head_of_a_trusted_key_is_taken_and_no_other() {
        let text = head().text();
        let ((own, signature), (other, forged)) = (signed(7, &text), signed(8, &text));
        let check = |head: &str, signature: &str, trusted: &[_], revoked: &[_], expected| {
            assert_eq!(Signed { head, signature }.check(trusted, revoked), expected);
        };
        check(&text, &signature, &[own], &[], Ok(head()));
        check(&text, &signature, &[other, own], &[other], Ok(head()));
        check(&text, &forged, &[own], &[], Err(Wrong::Untrusted));
        check(&text, &signature, &[], &[], Err(Wrong::Untrusted));
        check(&text, "", &[own], &[], Err(Wrong::Untrusted));
        check(&text, &signature, &[own], &[own], Err(Wrong::Revoked));
        check(&text, &signature, &[other], &[own], Err(Wrong::Revoked));
        let changed = text.replace("data.format=1", "data.format=2");
        check(&changed, &signature, &[own], &[], Err(Wrong::Untrusted));
    }

    /// The same signature is in the tests of `sedge device sign`.
    const SIGNATURE: &str = "CwR4g7hpAlgsVurgZbLOhbEJ0CmQMyt0FBQHjikTGivarON6AykM7K/HFkmRSxx6fqPw\
                             ucN35WO7ALKNK0MnCA==";

    #[test]
    fn the_signature_is_that_of_the_broker_s_command() {
        let head = "sedge slot image 1\nboard=b\n\n";
        assert_eq!(signed(7, head).1, SIGNATURE);
    }

    #[test]
    fn a_program_is_for_this_machine() {
        let program = |machine: u16| {
            let mut begin = vec![0; 0x80];
            begin[..2].copy_from_slice(b"MZ");
            begin[0x3C] = 0x40;
            begin[0x40..0x44].copy_from_slice(b"PE\0\0");
            begin[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
            begin
        };
        assert!(is_program(&program(MACHINE)));
        assert!(!is_program(&program(0x014C)));
        assert!(!is_program(&program(MACHINE)[..0x44]));
        assert!(!is_program(b"no kernel"));
        assert!(!is_program(b""));
    }

    #[test]
    fn a_head_that_cannot_be_read_is_refused() {
        let text = head().text();
        let check = |from: &str, to: &str, expected: Wrong| {
            assert_eq!(Head::read(&text.replacen(from, to, 1)), Err(expected));
        };
        check("image 1", "image 2", Wrong::NotAnImage);
        check("board=qemu-arm64\n", "", Wrong::Lacks("board"));
        check("built=1", "built=x", Wrong::Line("built=x795812000".into()));
        check("version=0", "version", Wrong::Line("version.1.0".into()));
        check("part=root", "part=boot", Wrong::Parts);
        check("part=initrd", "part=vmlinuz", Wrong::Parts);
        let line = Wrong::Line("part=root 4".into());
        let at = text.find("part=root").unwrap() + "part=root 4".len();
        let end = at + text[at..].find('\n').unwrap();
        assert_eq!(Head::read(&[&text[..at], &text[end..]].concat()), Err(line));
    }
}
