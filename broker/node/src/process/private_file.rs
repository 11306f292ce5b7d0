//! Checks the owner and the mode of a file with a secret. Only the user that the broker runs as may
//! read such a file. If root owns the file, its group may read it too: distributions and containers
//! hand keys to a service in this way.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Uid, geteuid};

/// Checks that no other user can read or write the file. `what` is the content, for the error.
///
/// # Errors
/// Another user owns the file, or its mode lets others in. The error has the command that fixes it.
pub fn check(path: &Path, metadata: &Metadata, what: &str) -> Result<(), String> {
    judge(
        path,
        what,
        (metadata.uid(), metadata.mode()),
        geteuid().as_raw(),
    )
}

fn judge(path: &Path, what: &str, (owner, mode): (u32, u32), user: u32) -> Result<(), String> {
    let root = Uid::ROOT.as_raw();
    let path = path.display();
    if owner != root && owner != user {
        return Err(format!(
            "{path} has {what} but belongs to user {owner}; it must belong to root or to user \
             {user}, which reads it: `chown {user} {path}`"
        ));
    }
    let (surplus, right) = if owner == root {
        (0o037, 0o640)
    } else {
        (0o077, 0o600)
    };
    if mode & surplus == 0 {
        return Ok(());
    }
    Err(format!(
        "{path} has {what}, but others can read it or write to it (mode {:o}): \
         `chmod {right:o} {path}`",
        mode & 0o777
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broker_s_user_and_root_s_group_may_read() {
        let check = |owner: u32, mode: u32, part: Option<&str>| {
            let said = judge(Path::new("/k"), "a key", (owner, 0o100_000 | mode), 7).err();
            match part {
                Some(part) => assert!(
                    said.as_ref().is_some_and(|of| of.contains(part)),
                    "{said:?}"
                ),
                None => assert_eq!(said, None),
            }
        };
        check(7, 0o600, None);
        check(7, 0o400, None);
        check(7, 0o640, Some("mode 640"));
        check(7, 0o604, Some("`chmod 600 /k`"));
        check(0, 0o640, None);
        check(0, 0o440, None);
        check(0, 0o660, Some("`chmod 640 /k`"));
        check(0, 0o644, Some("mode 644"));
        check(8, 0o600, Some("`chown 7 /k`"));
    }
}
