//! Packages of Debian for any architecture, from the repositories that this machine uses, without
//! changing the machine's own package system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    process,
};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One package in one version.
#[derive(Debug)]
pub struct Package<'a> {
    pub name: &'a str,
    pub arch: &'a str,
    pub version: &'a str,
    /// The component of the archive that has it.
    pub component: &'a str,
}

/// Downloads `package`, using `directory` for apt's state. Returns the path of the `.deb`.
pub fn download(directory: &Path, package: &Package<'_>) -> Result<PathBuf> {
    for part in ["lists/partial", "cache/archives/partial", "debs"] {
        let path = directory.join(part);
        fs::create_dir_all(&path).map_err(Error::file(path))?;
    }
    let status = directory.join("status");
    fs::write(&status, "").map_err(Error::file(&status))?;
    let sources = directory.join("sources.list");
    fs::write(&sources, sources_for(package)?).map_err(Error::file(&sources))?;
    let set = |key: &str, value: &Path| format!("-o{key}={}", value.display());
    let arch = package.arch;
    let options = [
        set("Dir::Etc::sourcelist", &sources),
        set("Dir::Etc::sourceparts", Path::new("/dev/null")),
        set("Dir::State::lists", &directory.join("lists")),
        set("Dir::Cache", &directory.join("cache")),
        set("Dir::State::status", &status),
        format!("-oAPT::Architecture={arch}"),
        format!("-oAPT::Architectures::={arch}"),
        "-oAPT::Sandbox::User=root".to_owned(),
    ];
    let debs = directory.join("debs");
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.args(&options).current_dir(&debs);
        command
    };
    let wanted = format!("{}:{arch}={}", package.name, package.version);
    process::run_quietly(apt_get().args(["update", "-qq"]))?;
    process::run_quietly(apt_get().args(["download", "-qq", &wanted]))?;
    // In the name of the file, apt writes a colon of the version as %3a.
    let prefix = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
    let files = fs::read_dir(&debs).map_err(Error::file(&debs))?.flatten();
    let mut paths = files.map(|file| file.path());
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix)
    };
    paths.find(is_wanted).ok_or_else(|| Error::Missing {
        what: wanted,
        remedy: "apt-get downloaded it without an error, but not to where it was told".to_owned(),
    })
}

/// Unpacks a `.deb` into `directory`, over what is there.
pub fn unpack(deb: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    process::run_quietly(Command::new("dpkg-deb").arg("-x").arg(deb).arg(directory))
}

/// Returns the lines of a sources.list with all repositories of this machine, and the package's
/// component.
fn sources_for(package: &Package<'_>) -> Result<String> {
    let format = "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let listed =
        process::output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let arch = package.arch;
    let mut lines: Vec<String> = Vec::new();
    for repository in listed
        .lines()
        .filter_map(|line| line.strip_prefix("Packages "))
    {
        lines.push(format!(
            "deb [arch={arch} signed-by={KEYRING}] {repository}\n"
        ));
        if let Some(archive) = repository.strip_suffix(" main") {
            let component = package.component;
            lines.push(format!(
                "deb [arch={arch} signed-by={KEYRING}] {archive} {component}\n"
            ));
        }
    }
    lines.sort();
    lines.dedup();
    Ok(lines.concat())
}
