//! Builds C: clang makes a module of all `*.c` files of a folder. A C library is not needed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{BuildError, Tool, build_folder, componentize, read};

const CLANG: Tool = Tool {
    program: "clang",
    remedy: "install clang and lld, on Debian `apt-get install clang lld`",
};

/// Flags of every build. The stack comes first in memory, so that an overflow is a trap.
const FLAGS: [&str; 10] = [
    "--target=wasm32-unknown-unknown",
    "-std=c11",
    "-O3",
    "-ffreestanding",
    "-mbulk-memory",
    "-nostdlib",
    "-Wall",
    "-Wl,--no-entry",
    "-Wl,--stack-first",
    "-Wl,--strip-all",
];

/// Returns the C files in `directory`, in the order of their names.
pub fn sources(directory: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            let path = directory.to_owned();
            return Err(BuildError::File { path, source });
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut sources: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    Ok(sources)
}

/// Builds the C files in `directory` and returns the component.
pub fn build(directory: &Path) -> Result<Vec<u8>, BuildError> {
    let module = build_folder(directory)?.join("module.wasm");
    let mut clang = Command::new(CLANG.program);
    clang.args(FLAGS).arg("-o").arg(&module);
    CLANG.run(clang.args(sources(directory)?))?;
    componentize(&read(&module)?)
}
