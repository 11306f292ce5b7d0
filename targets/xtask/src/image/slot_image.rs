//! The slot image of a board: what an update writes to the slot of a device that does not run.

use std::{fs, path::Path, process::Command};

use sedge_init::{
    keys,
    settings::{REVOKED_KEYS, TRUSTED_KEYS},
    slot_image::{Head, Part},
};

use super::{Kernel, boot};
use crate::{
    board_file::Board,
    build::HOST_TRIPLE,
    error::{Error, Result},
    process,
    target_file::Target,
};

/// What an image says of itself.
#[derive(Debug)]
pub struct About {
    board: String,
    version: String,
    data_format: u32,
    /// Seconds since 1970.
    pub built: u64,
}

impl About {
    /// Asks the broker for its version and its format of data.
    pub fn of(board: &Board, target: &Target, broker: &Path, built: u64) -> Result<Self> {
        let mut command = match &target.qemu_user {
            Some(emulator) if target.triple != HOST_TRIPLE => {
                let mut command = Command::new(emulator);
                command.arg(broker);
                command
            }
            _ => Command::new(broker),
        };
        let said = process::output(command.arg("version"))?;
        let (version, data_format) = version(&said).ok_or_else(|| Error::Content {
            path: broker.to_owned(),
            wrong: format!("says `{said}` of its version, without a format of data"),
        })?;
        Ok(Self {
            board: board.name.clone(),
            version,
            data_format,
            built,
        })
    }

    /// Returns `slot.properties`, from which the device knows what it runs and whom it trusts.
    pub fn properties(&self, trusted: &[String], revoked: &[String]) -> Result<String> {
        for key in trusted.iter().chain(revoked) {
            if keys::read(key).is_none_or(|keys| keys.len() != 1) {
                return Err(Error::Missing {
                    what: format!("`{key}` as the public key of updates"),
                    remedy: "make a key with `openssl genpkey -algorithm ed25519 -out KEY`; \
                             `openssl pkey -in KEY -pubout` prints what is meant between BEGIN \
                             and END"
                        .to_owned(),
                });
            }
        }
        Ok(format!(
            "board={}\nversion={}\nbuilt={}\n{TRUSTED_KEYS}={}\n{REVOKED_KEYS}={}\n",
            self.board,
            self.version,
            self.built,
            trusted.join(","),
            revoked.join(","),
        ))
    }

    /// Writes the slot image.
    pub fn write(&self, board: &Board, root: &Path, kernel: &Kernel, to: &Path) -> Result<()> {
        let root = fs::read(root).map_err(Error::file(root))?;
        let parts = [
            ("root", &root),
            ("vmlinuz", &kernel.image),
            ("initrd", &kernel.initramfs),
        ];
        let head = Head {
            board: self.board.clone(),
            version: self.version.clone(),
            built: self.built,
            data_format: self.data_format,
            options: boot::command_line(board),
            parts: parts.map(|(name, bytes)| Part::of(name, bytes)).into(),
        };
        let mut image = head.text().into_bytes();
        for (_, bytes) in parts {
            image.extend(bytes);
        }
        fs::write(to, image).map_err(Error::file(to))
    }
}

/// Reads what `sedge version` says.
fn version(said: &str) -> Option<(String, u32)> {
    let mut lines = said.lines();
    let version = lines.next()?.strip_prefix("sedge ")?;
    let format = lines.next()?.strip_prefix("data format ")?;
    Some((version.to_owned(), format.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_says_its_version_and_its_format() {
        let said = "sedge 0.1.0\ndata format 1";
        assert_eq!(version(said), Some(("0.1.0".to_owned(), 1)));
        assert_eq!(version("sedge 0.1.0"), None);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let about = About {
            board: "b".to_owned(),
            version: "0.1.0".to_owned(),
            data_format: 1,
            built: 5,
        };
        let key = "MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=".to_owned();
        let text = about.properties(std::slice::from_ref(&key), &[]).unwrap();
        assert!(
            text.contains(&format!("update.trusted.keys={key}\n")),
            "{text}"
        );
        let error = about.properties(&["key.pem".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("`key.pem`"), "{error}");
    }
}
