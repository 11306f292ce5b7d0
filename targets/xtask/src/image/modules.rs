//! The kernel's modules that a board needs, with those that they depend on, in the order of
//! loading. A module says itself what it depends on, in its section `.modinfo`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// The modules of a kernel's package.
#[derive(Debug)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    /// Modules that are in the kernel itself.
    builtin: Vec<String>,
    directory: PathBuf,
}

/// A module to load.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Modules {
    /// Lists the modules of an unpacked package.
    pub fn of(package: &Path) -> Result<Self> {
        let modules = package.join("lib/modules");
        let lacking = || Error::Content {
            path: modules.clone(),
            wrong: "has no kernel".to_owned(),
        };
        let mut versions = fs::read_dir(&modules)
            .map_err(Error::file(&modules))?
            .flatten();
        let directory = versions.next().ok_or_else(lacking)?.path();
        let mut files = BTreeMap::new();
        let mut folders = vec![directory.join("kernel")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)
                .map_err(Error::file(&folder))?
                .flatten()
            {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        let builtin = directory.join("modules.builtin");
        let listed = fs::read_to_string(&builtin).map_err(Error::file(&builtin))?;
        let builtin = listed
            .lines()
            .filter_map(|line| module_name(Path::new(line)));
        Ok(Self {
            files,
            builtin: builtin.collect(),
            directory,
        })
    }

    /// Returns the modules with these names, and those that they need before them.
    pub fn with_dependencies(&self, names: &[String]) -> Result<Vec<Module>> {
        let mut ordered = Vec::new();
        for name in names {
            self.add(&normal(name), &mut Vec::new(), &mut ordered)?;
        }
        Ok(ordered)
    }

    fn add(&self, name: &str, above: &mut Vec<String>, ordered: &mut Vec<Module>) -> Result<()> {
        let is_there = ordered.iter().any(|module| module.name == name);
        if is_there || above.iter().any(|of| of == name) || self.builtin.iter().any(|of| of == name)
        {
            return Ok(());
        }
        let path = self.files.get(name).ok_or_else(|| Error::Content {
            path: self.directory.clone(),
            wrong: match above.last() {
                Some(by) => format!("lacks the module {name}, which {by} needs"),
                None => format!("lacks the module {name}, which the board names"),
            },
        })?;
        let bytes = fs::read(path).map_err(Error::file(path))?;
        above.push(name.to_owned());
        for needed in needs(&bytes) {
            self.add(&needed, above, ordered)?;
        }
        // Best effort: an alias of what may be there, such as another checksum.
        for wanted in prefers(&bytes) {
            if self.files.contains_key(&wanted) {
                self.add(&wanted, above, ordered)?;
            }
        }
        above.pop();
        ordered.push(Module {
            name: name.to_owned(),
            bytes,
        });
        Ok(())
    }
}

/// Returns the module's name that a path of a `.ko` file has.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ko")?;
    Some(normal(name))
}

/// Returns the name with which the kernel speaks of a module.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the modules without which a module cannot be loaded.
fn needs(module: &[u8]) -> Vec<String> {
    let listed = told(module, b"depends=");
    let names = listed.iter().flat_map(|list| list.split(','));
    names.filter(|name| !name.is_empty()).map(normal).collect()
}

/// Returns the modules that should be loaded before a module.
fn prefers(module: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for list in told(module, b"softdep=") {
        let mut is_before = false;
        for word in list.split_whitespace() {
            match word.strip_suffix(':') {
                Some(when) => is_before = when == "pre",
                None if is_before => names.push(normal(word)),
                None => {}
            }
        }
    }
    names
}

/// Returns what follows `key` in the strings of a module; each ends with a zero.
fn told(module: &[u8], key: &[u8]) -> Vec<String> {
    let strings = module.split(|byte| *byte == 0);
    let values = strings.filter_map(|string| string.strip_prefix(key));
    values
        .filter_map(|value| String::from_utf8(value.to_vec()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)], builtin: &[&str]) -> Modules {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let own = format!("modules-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(own);
        fs::create_dir_all(&directory).unwrap();
        let files = files.iter().map(|(name, text)| {
            let path = directory.join(format!("{name}.ko"));
            fs::write(&path, text).unwrap();
            ((*name).to_owned(), path)
        });
        Modules {
            files: files.collect(),
            builtin: builtin.iter().map(|name| (*name).to_owned()).collect(),
            directory,
        }
    }

    fn order(modules: &Modules, names: &[&str]) -> std::result::Result<String, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let ordered = modules.with_dependencies(&names);
        fs::remove_dir_all(&modules.directory).unwrap();
        let ordered = ordered.map_err(|error| error.to_string())?;
        let names = ordered.iter().map(|module| module.name.as_str());
        Ok(names.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let modules = modules(
            &[
                (
                    "virtio_net",
                    "ELF\0license=GPL\0depends=net-failover,virtio\0",
                ),
                ("net_failover", "depends=failover\0"),
                ("failover", "depends=\0softdep=pre: crc32c post: late\0"),
                ("crc32c", "\0depends=\0"),
                ("ext4", "depends=jbd2\0"),
            ],
            &["virtio", "jbd2"],
        );
        let expected = "crc32c failover net_failover virtio_net ext4";
        assert_eq!(
            order(&modules, &["virtio-net", "failover", "ext4"]),
            Ok(expected.into())
        );
    }

    #[test]
    fn a_module_that_is_lacking_is_named() {
        let lacking = modules(&[("a", "depends=b\0")], &[]);
        let error = order(&lacking, &["a"]).unwrap_err();
        assert!(
            error.contains("lacks the module b, which a needs"),
            "{error}"
        );
        let circle = modules(&[("a", "depends=b\0"), ("b", "depends=a\0")], &[]);
        assert_eq!(order(&circle, &["a"]), Ok("b a".into()));
    }
}
