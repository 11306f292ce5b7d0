//! `cargo xtask package`: packages for machines that have an operating system already. The same
//! broker and commit give the same bytes.

mod deb;
mod oci;
mod tarball;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;

use crate::{
    build::{self, Compiler},
    error::{Error, Result},
    process, setup,
    target_file::Target,
    workspace::Workspace,
};

/// A form of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A package of Debian
    Deb,
    /// An archive with the broker, a configuration and the systemd unit
    Tarball,
    /// An image of containers, as an OCI layout in an archive
    Oci,
}

/// What is packaged.
#[derive(Debug)]
pub struct Inputs {
    pub targets: Vec<String>,
    /// A broker for each target that was built before; otherwise they are built.
    pub brokers: Vec<PathBuf>,
    /// The directory of the package, instead of `packages` in cargo's target directory.
    pub directory: Option<PathBuf>,
}

impl Inputs {
    /// Returns the arguments of xtask with these inputs, on a line; the directory is left out.
    pub fn line(&self, form: Form) -> String {
        let form = form.to_possible_value();
        let form = form.as_ref().map_or("", |form| form.get_name());
        let targets = self.targets.iter().map(|of| format!(" --target {of}"));
        let brokers = self
            .brokers
            .iter()
            .map(|of| format!(" --broker {}", of.display()));
        let rest: String = targets.chain(brokers).collect();
        format!("package {form}{rest}\n")
    }
}

/// A broker to package.
#[derive(Debug)]
struct Packaged {
    target: Target,
    broker: PathBuf,
}

/// What all packages of a commit have in common.
#[derive(Debug)]
struct Edition<'a> {
    workspace: &'a Workspace,
    version: &'static str,
    /// Seconds since 1970 of the commit.
    built: u64,
    directory: PathBuf,
}

/// Makes packages, and says where they are.
pub fn run(workspace: &Workspace, form: Form, inputs: &Inputs) -> Result<()> {
    setup::for_packages()?;
    let directory = inputs.directory.clone();
    let directory = directory.unwrap_or_else(|| workspace.target.join("packages"));
    fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
    let edition = Edition {
        workspace,
        version: env!("CARGO_PKG_VERSION"),
        built: crate::image::built(workspace)?,
        directory,
    };
    let mut packaged = Vec::new();
    for (at, triple) in inputs.targets.iter().enumerate() {
        packaged.push(edition.packaged(triple, inputs.brokers.get(at))?);
    }
    let made = match form {
        Form::Deb => each(&packaged, |of| deb::write(&edition, of))?,
        Form::Tarball => each(&packaged, |of| tarball::write(&edition, of))?,
        Form::Oci => vec![oci::write(&edition, &packaged)?],
    };
    for path in made {
        let bytes = fs::metadata(&path).map_err(Error::file(&path))?.len();
        println!(
            "{}: {:.2} MiB",
            path.display(),
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}

fn each(
    packaged: &[Packaged],
    write: impl Fn(&Packaged) -> Result<PathBuf>,
) -> Result<Vec<PathBuf>> {
    packaged.iter().map(write).collect()
}

impl Edition<'_> {
    fn packaged(&self, triple: &str, broker: Option<&PathBuf>) -> Result<Packaged> {
        let target = Target::read(self.workspace, triple)?;
        let compiler = if target.compiler {
            Compiler::In
        } else {
            Compiler::Out
        };
        let broker = if let Some(broker) = broker {
            broker.clone()
        } else {
            setup::for_target(self.workspace, &target)?;
            build::run(self.workspace, &target, compiler)?.binary
        };
        Ok(Packaged { target, broker })
    }

    /// Returns an empty scratch directory.
    fn staging(&self, name: &str) -> Result<PathBuf> {
        let staging = self.directory.join(name);
        setup::empty_directory(&staging)?;
        Ok(staging)
    }

    /// Puts a file of the repository into a staging directory.
    fn put_own(&self, from: &str, staging: &Path, to: &str) -> Result<()> {
        put(&self.workspace.root.join(from), &staging.join(to), 0o644)
    }

    /// Writes an archive of `names` in `directory`, all of them owned by `owner`, or adds them to
    /// one.
    fn archive(
        &self,
        verb: &str,
        to: &Path,
        directory: &Path,
        names: &[&str],
        owner: u32,
    ) -> Result<()> {
        let mut command = Command::new("tar");
        command
            .args(["--format=gnu", "--sort=name", "--numeric-owner"])
            .arg(format!("--owner={owner}"))
            .arg(format!("--group={owner}"))
            .arg(format!("--mtime=@{}", self.built))
            .arg("-C")
            .arg(directory)
            .arg(format!("--{verb}"))
            .arg("-f")
            .arg(to)
            .args(names);
        process::run_quietly(&mut command)
    }
}

/// Copies a file, with the directories above it, and sets its mode.
fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let directory = to.parent().expect("a path in a directory");
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    fs::copy(from, to).map_err(Error::file(from))?;
    set_mode(to, mode)
}

/// Writes a file, with the directories above it, and sets its mode.
fn put_text(text: &str, to: &Path, mode: u32) -> Result<()> {
    let directory = to.parent().expect("a path in a directory");
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    fs::write(to, text).map_err(Error::file(to))?;
    set_mode(to, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(Error::file(path))
}

/// Compresses a file, always to the same bytes, and removes it.
fn gzip(path: &Path) -> Result<PathBuf> {
    process::run_quietly(Command::new("gzip").args(["-n", "-9", "-f"]).arg(path))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    Ok(name.into())
}
