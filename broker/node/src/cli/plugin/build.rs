//! `sedge plugin build`: a component from source.

use std::path::PathBuf;

use clap::Args;
use sedge_plugin::Limits;
use sedge_plugin::guest::{self, BuildError};
use serde_json::json;

use super::code;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};

/// Which folders and files are built, for `--help`.
const HELP: &str = "\
The language is that of the directory: Rust with Cargo.toml, JavaScript with package.json, Python
with requirements.txt, C with *.c. The scripts that package.json and build.py name are run. A file is
a core module that another tool made for wasm32-unknown-unknown: it exports the functions of one
world of wit/, and imports at most those of `log`.";

/// Build a plugin from its source.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Build {
    /// Directory of the source, or a core module
    #[arg(default_value = ".", value_name = "DIR|MODULE")]
    source: PathBuf,
    /// File to write [default: the source's name with .wasm, in the current directory]
    #[arg(short, long, visible_alias = "out", value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Build {
    /// Builds the plugin.
    ///
    /// # Errors
    /// A tool is missing, or the source does not build.
    pub fn run(&self) -> Result<(), Failure> {
        let output = self.output()?;
        let component = guest::make(&self.source).map_err(|error| self.failure(&error))?;
        let (world, _) = sedge_plugin::inspect(&component, Limits::default().component_bytes_max)
            .map_err(|error| code::plugin_failure(&self.source, &error))?;
        code::write(&output, &component)?;
        let mut table = Table::new(&["file", "world", "bytes"]);
        table.row([
            json!(output.display().to_string()),
            json!(world.to_string()),
            json!(component.len()),
        ]);
        table.print(Output::Text)
    }

    fn output(&self) -> Result<PathBuf, Failure> {
        if let Some(output) = &self.output {
            return Ok(output.clone());
        }
        let source = std::path::absolute(&self.source).unwrap_or_default();
        let mut name = source.file_name().unwrap_or_default().to_owned();
        if self.source.is_file() {
            let what = format!("{} is a module", self.source.display());
            return Err(
                Failure::new(Exit::Usage, what).advise("name the component to write with --output")
            );
        }
        name.push(".wasm");
        Ok(name.into())
    }

    fn failure(&self, error: &BuildError) -> Failure {
        let exit = if error.is_of_the_machine() {
            Exit::Unavailable
        } else {
            Exit::Data
        };
        let source = self.source.display();
        Failure::new(exit, format!("cannot build {source}: {error}"))
    }
}
