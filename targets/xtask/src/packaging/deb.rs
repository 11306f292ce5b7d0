//! A package of Debian, written by `dpkg-deb`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Edition, Packaged, put, put_text};
use crate::{
    error::{Error, Result},
    process,
};

/// Files of the repository, and their places on the machine.
const FILES: [(&str, &str); 4] = [
    ("boards/packages/sedge.toml", "etc/sedge/sedge.toml"),
    (
        "boards/systemd/sedge.service",
        "usr/lib/systemd/system/sedge.service",
    ),
    (
        "boards/systemd/sysusers.conf",
        "usr/lib/sysusers.d/sedge.conf",
    ),
    ("boards/packages/copyright", "usr/share/doc/sedge/copyright"),
];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
const CONFFILES: &str = "/etc/sedge/sedge.toml\n";

pub fn write(edition: &Edition<'_>, packaged: &Packaged) -> Result<PathBuf> {
    let arch = &packaged.target.deb_arch;
    let version = version(edition)?;
    let name = format!("sedge_{version}_{arch}");
    let staging = edition.staging(&format!("{name}.root"))?;
    put(&packaged.broker, &staging.join("usr/bin/sedge"), 0o755)?;
    for (from, to) in FILES {
        edition.put_own(from, &staging, to)?;
    }
    for script in SCRIPTS {
        let from = edition.workspace.root.join("boards/packages").join(script);
        put(&from, &staging.join("DEBIAN").join(script), 0o755)?;
    }
    put_text(CONFFILES, &staging.join("DEBIAN/conffiles"), 0o644)?;
    let depends = depends(&packaged.broker)?;
    let control = format!(
        "Package: sedge\nVersion: {version}\nArchitecture: {arch}\nMaintainer: the authors of sedge \
         <sedge@localhost>\nInstalled-Size: {}\nDepends: {depends}\nSection: net\nPriority: \
         optional\nDescription: Kafka broker for the edge\n One small process that speaks Kafka's \
         protocol, keeps records on flash, runs plugins\n on them, and mirrors them to other \
         clusters.\n",
        kib(&staging)?,
    );
    put_text(&control, &staging.join("DEBIAN/control"), 0o644)?;
    let package = edition.directory.join(format!("{name}.deb"));
    let mut command = Command::new("dpkg-deb");
    command
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&staging, &package])
        .env("SOURCE_DATE_EPOCH", edition.built.to_string());
    process::bytes(&mut command)?;
    Ok(package)
}

/// Returns a version that grows with the commits.
fn version(edition: &Edition<'_>) -> Result<String> {
    let at = format!("@{}", edition.built);
    let mut date = Command::new("date");
    let date = process::output(date.args(["-u", "-d", &at, "+%Y%m%d%H%M%S"]))?;
    Ok(format!("{}+{date}", edition.version))
}

/// Returns the packages that the broker needs: those of the C library that it is linked with, and
/// what creates its user.
fn depends(broker: &Path) -> Result<String> {
    let bytes = fs::read(broker).map_err(Error::file(broker))?;
    let user = "passwd";
    Ok(match glibc(&bytes) {
        Some((major, minor)) => format!("libc6 (>= {major}.{minor}), libgcc-s1, {user}"),
        None => user.to_owned(),
    })
}

/// Returns the newest version of glibc whose symbols a program names.
fn glibc(program: &[u8]) -> Option<(u32, u32)> {
    const BEGIN: &[u8] = b"GLIBC_";
    let places = program.windows(BEGIN.len()).enumerate();
    let places = places.filter(|(_, bytes)| *bytes == BEGIN);
    let versions = places.filter_map(|(at, _)| {
        let rest = program.get(at + BEGIN.len()..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (major, minor) = std::str::from_utf8(rest.get(..end)?)
            .ok()?
            .split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    });
    versions.max()
}

/// Returns the space that the files take, in KiB.
fn kib(staging: &Path) -> Result<String> {
    let mut command = Command::new("du");
    let said = process::output(command.args(["-sk", "--apparent-size"]).arg(staging))?;
    Ok(said.split_whitespace().next().unwrap_or("0").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_that_of_the_newest_symbol() {
        let program = b"\x7fELF\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0";
        assert_eq!(glibc(program), Some((2, 34)));
        assert_eq!(glibc(b"\x7fELF static"), None);
    }
}
