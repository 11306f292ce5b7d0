//! Who may read a file with a secret: the user that the broker runs as. A file of root's may be
//! read by its group as well, which is how distributions and containers hand keys to a service.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Uid, geteuid};

/// Checks that nobody else can read or write the file. `what` is said to be in it.
///
/// # Errors
/// What is wrong, and the command that mends it.
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
            "{path} has {what}, and belongs to user {owner}, not to user {user} that reads it or to \
             root; `chown {user} {path}`"
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
        "{path} has {what}, and mode {:o}, with which others can read it or change it; \
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
