//! Packs what `sedge plugin new` writes: the templates of `plugins/templates`, the SDK for Rust,
//! and the interface. Packed, because these are 60 KB of text.

use std::{
    env, fs,
    io::{self, Write as _},
    path::Path,
};

use flate2::{Compression, write::ZlibEncoder};

/// Folders of the repository, and the folder of each in the package.
const FOLDERS: [(&str, &str); 2] = [("plugins/templates", ""), ("plugins/sdk", "sdk")];
/// The interface, which is in the SDK by symbolic links, and in other projects as well.
const WIT: (&str, [&str; 4]) = (
    "wit/plugin.wit",
    [
        "wit/plugin.wit",
        "sdk/wit/plugin.wit",
        "sdk/partitioner-bindings/wit/plugin.wit",
        "sdk/quota-bindings/wit/plugin.wit",
    ],
);

pub fn pack() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build/plugin_projects.rs");
    // Without a compiler for plugins, no plugin is written here.
    if env::var_os("CARGO_FEATURE_JIT").is_none() {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut packed = Vec::new();
    for (folder, name) in FOLDERS {
        pack_folder(&root.join(folder), name, &mut packed)?;
    }
    let (file, names) = WIT;
    for name in names {
        pack_file(&root.join(file), name, &mut packed)?;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&packed)?;
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);
    fs::write(out.join("plugin_projects.zlib"), encoder.finish()?)?;
    fs::write(out.join("plugin_projects.bytes"), packed.len().to_string())
}

/// Adds the files of a folder, in the order of their names.
fn pack_folder(folder: &Path, name: &str, packed: &mut Vec<u8>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let inner = entry.file_name();
        let inner = inner.to_string_lossy();
        let inner = if name.is_empty() {
            inner.into_owned()
        } else {
            format!("{name}/{inner}")
        };
        let kind = entry.file_type()?;
        // The SDK's tests belong to this repository.
        if kind.is_dir() && inner != "sdk/tests" {
            pack_folder(&entry.path(), &inner, packed)?;
        } else if kind.is_file() {
            pack_file(&entry.path(), &inner, packed)?;
        }
    }
    Ok(())
}

/// Adds a file: its name, a line end, the length of its text, a line end, its text.
fn pack_file(path: &Path, name: &str, packed: &mut Vec<u8>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path)?;
    write!(packed, "{name}\n{}\n{text}", text.len())
}
