//! Builds JavaScript and Python: a script of the project makes the component, with a tool that the
//! language's package manager installs into the project.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{BuildError, Tool, build_folder, read};

const NPM: Tool = Tool {
    program: "npm",
    remedy: "install Node.js 18 or newer, on Debian `apt-get install nodejs npm`",
};
const PYTHON: Tool = Tool {
    program: "python3",
    remedy: "install Python 3.10 or newer, on Debian `apt-get install python3 python3-venv`",
};
const PIP: Tool = Tool {
    program: "pip",
    ..PYTHON
};

/// The file that a project's script writes.
const COMPONENT: &str = "plugin.wasm";

/// Runs the project's script `build` by npm, after `npm install` if that was not done.
pub fn javascript(directory: &Path) -> Result<Vec<u8>, BuildError> {
    let npm = |arguments: &[&str]| {
        let mut npm = Command::new(NPM.program);
        NPM.run(npm.current_dir(directory).args(arguments))
    };
    if !directory.join("node_modules").is_dir() {
        npm(&["install", "--no-audit", "--no-fund"])?;
    }
    component_of("`npm run build`", directory, || npm(&["run", "build"]))
}

/// Runs the project's `build.py` in an environment `.venv`, which is created and filled with
/// `requirements.txt` if there is none.
pub fn python(directory: &Path) -> Result<Vec<u8>, BuildError> {
    let environment = directory.join(".venv");
    // The stamp is the last to be written: an installation that was interrupted starts again.
    let stamp = environment.join("sedge-installed");
    if !stamp.is_file() {
        let mut venv = Command::new(PYTHON.program);
        PYTHON.run(venv.args(["-m", "venv", "--clear"]).arg(&environment))?;
        let mut pip = Command::new(in_environment(&environment)?);
        pip.current_dir(directory);
        let install = ["-m", "pip", "install", "--quiet", "-r", "requirements.txt"];
        PIP.run(pip.args(install))?;
        fs::write(&stamp, "").map_err(|source| BuildError::File {
            path: stamp,
            source,
        })?;
    }
    component_of("build.py", directory, || {
        let mut python = Command::new(in_environment(&environment)?);
        PYTHON.run(python.current_dir(directory).arg("build.py"))
    })
}

/// Returns the environment's interpreter, whatever the current folder is.
fn in_environment(environment: &Path) -> Result<PathBuf, BuildError> {
    let python = environment.join("bin/python");
    std::path::absolute(&python).map_err(|source| BuildError::File {
        path: python,
        source,
    })
}

/// Runs the project's `script` and reads the component that it wrote.
fn component_of(
    script: &'static str,
    directory: &Path,
    run: impl FnOnce() -> Result<(), BuildError>,
) -> Result<Vec<u8>, BuildError> {
    let path = build_folder(directory)?.join(COMPONENT);
    // An old component is not taken for a new one.
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(BuildError::File { path, source });
        }
        _ => {}
    }
    run()?;
    if !path.is_file() {
        return Err(BuildError::NoComponent { script, path });
    }
    read(&path)
}
