//! An archive with the broker: for any Linux, if the target is a static one.

use std::path::PathBuf;

use super::{Edition, Packaged, gzip, put};
use crate::error::Result;

/// Files of the repository, and their names in the archive.
const FILES: [(&str, &str); 4] = [
    ("boards/packages/sedge.toml", "sedge.toml"),
    ("boards/systemd/sedge.service", "systemd/sedge.service"),
    ("boards/systemd/sysusers.conf", "systemd/sysusers.conf"),
    ("LICENSE", "LICENSE"),
];

pub fn write(edition: &Edition<'_>, packaged: &Packaged) -> Result<PathBuf> {
    let name = format!("sedge-{}-{}", edition.version, packaged.target.triple);
    let staging = edition.staging(&format!("{name}.root"))?;
    put(&packaged.broker, &staging.join(&name).join("sedge"), 0o755)?;
    for (from, to) in FILES {
        edition.put_own(from, &staging.join(&name), to)?;
    }
    let archive = edition.directory.join(format!("{name}.tar"));
    edition.archive("create", &archive, &staging, &[&name], 0)?;
    gzip(&archive)
}
