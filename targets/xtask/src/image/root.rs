//! The root partition of a slot: the broker, the libraries that it is linked with, and the places
//! where the init mounts others. It is read-only.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    process,
    target_file::Target,
};

/// Places where file systems are mounted.
const MOUNTED: [&str; 8] = ["boot", "config", "data", "dev", "proc", "run", "sys", "tmp"];
const USERS: &str = "root:x:0:0:root:/:/bin/false\nsedge:x:990:990:sedge:/data/sedge:/bin/false\n";
const GROUPS: &str = "root:x:0:\nsedge:x:990:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// What a root partition is made of.
#[derive(Debug)]
pub struct Root<'a> {
    pub target: &'a Target,
    pub broker: &'a Path,
    /// The board's settings, as a `sedge.toml`.
    pub settings: &'a str,
    /// What the image says of itself on the device.
    pub properties: &'a str,
    /// Seconds since 1970 of the image's content.
    pub built: u64,
    /// The partition's id, in the form of a UUID.
    pub id: &'a str,
}

impl Root<'_> {
    /// Writes the file system to `to`, by way of files in `staging`.
    pub fn write(&self, staging: &Path, to: &Path) -> Result<()> {
        crate::setup::empty_directory(staging)?;
        for directory in MOUNTED {
            let path = staging.join(directory);
            fs::create_dir_all(&path).map_err(Error::file(&path))?;
        }
        let put = |path: &str, content: &[u8]| put(staging, path, content, 0o644);
        put("etc/passwd", USERS.as_bytes())?;
        put("etc/group", GROUPS.as_bytes())?;
        put("etc/hosts", HOSTS.as_bytes())?;
        put("etc/sedge-built", format!("{}\n", self.built).as_bytes())?;
        put("usr/share/sedge/sedge.toml", self.settings.as_bytes())?;
        put(
            "usr/share/sedge/slot.properties",
            self.properties.as_bytes(),
        )?;
        let resolver = staging.join("etc/resolv.conf");
        symlink("/run/resolv.conf", &resolver).map_err(Error::file(&resolver))?;
        for (path, from) in self.programs()? {
            let bytes = fs::read(&from).map_err(Error::file(&from))?;
            let path = path.trim_start_matches('/');
            self::put(staging, path, &bytes, 0o755)?;
        }
        let _ = fs::remove_file(to);
        let mut command = Command::new("mkfs.erofs");
        command
            .args(["--quiet", "--all-root", "-zlz4hc", "-U", self.id])
            .arg(format!("-T{}", self.built))
            .args([to, staging]);
        process::run_quietly(&mut command)
    }

    /// Returns the programs and libraries, as their paths in the root and here.
    fn programs(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut programs = vec![("usr/bin/sedge".to_owned(), self.broker.to_owned())];
        if !self.target.static_crt {
            // The broker was linked with the libraries of this machine, and needs no older ones.
            let listed = process::output(Command::new("ldd").arg(self.broker))?;
            for path in libraries(&listed) {
                programs.push((path.to_owned(), PathBuf::from(path)));
            }
        }
        Ok(programs)
    }
}

/// Returns the paths in what `ldd` lists.
fn libraries(listed: &str) -> Vec<&str> {
    let words = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.find(|word| word.starts_with('/'))
    });
    words.collect()
}

fn put(staging: &Path, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = staging.join(path);
    let directory = path.parent().expect("a path in a directory");
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    fs::write(&path, content).map_err(Error::file(&path))?;
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(&path, permissions).map_err(Error::file(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_lists() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(listed), expected);
        assert_eq!(libraries("\tstatically linked\n"), [""; 0]);
    }
}
