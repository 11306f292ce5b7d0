//! Installs Apache Kafka's jars from Maven Central: the upstream of the mirror tests, and the
//! tools.

use std::process::Command;

use super::{
    apt,
    stamp::{self, Stamp},
};
use crate::{error::Result, process, workspace::Workspace};

/// Downloads the jars listed in `tests/kafka/pom.xml` to `target/tools/kafka/lib`.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    // The compiler is needed because the Java client is run from its source.
    apt::ensure_programs(&[("javac", "openjdk-17-jdk-headless")])?;
    let pom = workspace.root.join("tests/kafka/pom.xml");
    let directory = workspace.tools.join("kafka");
    let stamp = Stamp::new(pom.clone(), &directory);
    if stamp.is_fresh()? {
        return Ok(());
    }
    apt::ensure_programs(&[("mvn", "maven")])?;
    println!("  downloading Apache Kafka's jars");
    stamp::empty_directory(&directory)?;
    process::run(
        Command::new("mvn")
            .args(["--batch-mode", "--quiet", "--file"])
            .arg(pom)
            .arg("dependency:copy-dependencies")
            .arg(format!(
                "-DoutputDirectory={}",
                directory.join("lib").display()
            ))
            .arg("-DincludeScope=runtime"),
    )?;
    stamp.write()
}
