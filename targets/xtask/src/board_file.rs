//! `boards/NAME.toml`: a device, its image and its budgets. A file inherits what it does not say
//! from the file that its `inherit` names.

use std::{fmt, fs, path::PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::{
    error::{Error, Result},
    workspace::Workspace,
};

/// Files that inherit from each other in a row: more is a circle.
const INHERITED_MAX: usize = 8;
/// The key of the file that a file inherits from.
const INHERIT: &str = "inherit";
/// The key that makes a file a board of its own.
const TITLE: &str = "title";

/// One device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The name of the file, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The device in words.
    pub title: String,
    pub tier: Tier,
    /// A file of `targets/`, without `.toml`.
    pub target: String,
    pub boot: Boot,
    /// The kernel's consoles; the last one is the init's.
    pub console: Vec<String>,
    #[serde(default)]
    pub kernel: Kernel,
    pub uefi: Option<Uefi>,
    pub raspberry: Option<Raspberry>,
    pub qemu: Option<Qemu>,
    pub layout: Layout,
    pub data: Data,
    pub watchdog: Watchdog,
    pub budget: Budget,
    /// Keys of the broker's configuration.
    pub broker: Table,
}

/// What was seen to work; `boards/README.md` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Tier {
    /// The tests boot the image.
    Booted,
    /// The image is built, and one like it was booted.
    Built,
    /// Only described.
    Described,
}

/// How the firmware of a device finds the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// systemd-boot, with entries that count tries.
    Uefi,
    /// A script of U-Boot.
    Uboot,
    /// The Raspberry Pi's firmware.
    Raspberry,
}

/// The kernel and its modules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// A section of `debian.toml`; absent if no pinned kernel knows the device.
    pub package: Option<String>,
    /// Modules that the init loads, in this order; what they depend on is added.
    #[serde(default)]
    pub modules: Vec<String>,
    /// A file of the package's device trees.
    pub devicetree: Option<String>,
}

/// A boot loader for UEFI.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uefi {
    /// A section of `debian.toml`.
    pub package: String,
    /// The loader's path in the package.
    pub loader: String,
    /// The path that UEFI looks for.
    pub file: String,
}

/// Firmware that a Raspberry Pi loads from its card.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raspberry {
    /// A section of `debian.toml`.
    pub package: String,
    #[serde(default)]
    pub firmware: Vec<String>,
}

/// The emulator that runs the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    pub program: String,
    pub arguments: Vec<String>,
    /// Memory of the machine: UEFI itself needs more than the board.
    pub memory_mib: u32,
    /// UEFI's code, or U-Boot.
    pub firmware: PathBuf,
    /// UEFI's variables, of which each run has a copy.
    pub variables: Option<PathBuf>,
}

/// Sizes of the partitions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "units go last, as everywhere here"
)]
pub struct Layout {
    pub boot_mib: u64,
    pub config_mib: u64,
    /// Each of the two.
    pub root_mib: u64,
    /// As written; extended on the device.
    pub data_mib: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Options of the file system.
    pub mount: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    pub timeout_s: u32,
}

/// Bounds that `xtask sizes`, `xtask image` and the image's test check.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "bounds and units go last, as everywhere here"
)]
pub struct Budget {
    pub image_max_mib: f64,
    pub memory_min_mib: u32,
    pub broker_rss_max_mib: f64,
}

impl TryFrom<u8> for Tier {
    type Error = String;

    fn try_from(tier: u8) -> std::result::Result<Self, String> {
        match tier {
            1 => Ok(Self::Booted),
            2 => Ok(Self::Built),
            3 => Ok(Self::Described),
            _ => Err(format!("there is no tier {tier}; a tier is 1, 2 or 3")),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Booted => "1",
            Self::Built => "2",
            Self::Described => "3",
        })
    }
}

impl Board {
    /// Reads `boards/NAME.toml` and what it inherits.
    pub fn read(workspace: &Workspace, name: &str) -> Result<Self> {
        let files = Files::of(workspace);
        let path = files.path(name);
        if !path.is_file() {
            return Err(files.unknown(name));
        }
        let table = files.inherited(name)?;
        if !table.contains_key(TITLE) {
            return Err(files.unknown(name));
        }
        let wrong = |wrong| Error::Content {
            path: path.clone(),
            wrong,
        };
        let mut board: Self = Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| wrong(error.to_string().trim_end().to_owned()))?;
        name.clone_into(&mut board.name);
        board.check().map_err(wrong)?;
        Ok(board)
    }

    /// Returns the names of all boards.
    pub fn known(workspace: &Workspace) -> Vec<String> {
        Files::of(workspace).boards()
    }

    /// Returns where `xtask image` puts the compressed image.
    pub fn image(&self, workspace: &Workspace) -> PathBuf {
        let name = format!("images/{}.img.zst", self.name);
        workspace.target.join(name)
    }

    /// Checks what the types cannot.
    fn check(&self) -> std::result::Result<(), String> {
        let lacks = |what: &str| {
            let boot = format!("{:?}", self.boot).to_lowercase();
            Err(format!("boot = \"{boot}\" needs a section [{what}]"))
        };
        match self.boot {
            Boot::Uefi if self.uefi.is_none() => return lacks("uefi"),
            Boot::Raspberry if self.raspberry.is_none() => return lacks("raspberry"),
            _ => {}
        }
        if self.console.is_empty() {
            return Err("console names no console".to_owned());
        }
        for (key, value) in &self.broker {
            if matches!(value, Value::Table(_) | Value::Array(_)) {
                return Err(format!("broker.\"{key}\" is neither text nor a number"));
            }
        }
        Ok(())
    }

    /// Returns the board's settings as lines of a `sedge.toml`.
    pub fn broker_lines(&self) -> String {
        let line = |(key, value): (&String, &Value)| format!("\"{key}\" = {value}\n");
        self.broker.iter().map(line).collect()
    }
}

/// The files of `boards/`.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn of(workspace: &Workspace) -> Self {
        Self {
            directory: workspace.root.join("boards"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.toml"))
    }

    /// Returns the files that have a title.
    fn boards(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_suffix(".toml").map(str::to_owned)
        });
        let has_title = |name: &String| {
            let own = self.table(name);
            own.is_ok_and(|own| own.contains_key(TITLE))
        };
        let mut names: Vec<String> = names.filter(has_title).collect();
        names.sort();
        names
    }

    fn unknown(&self, name: &str) -> Error {
        Error::Unknown {
            kind: "board",
            name: name.to_owned(),
            known: self.boards(),
        }
    }

    fn table(&self, name: &str) -> Result<Table> {
        let path = self.path(name);
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        toml::from_str(&text).map_err(|error| Error::Content {
            path,
            wrong: error.to_string(),
        })
    }

    /// Returns the content of a file over that of the files that it inherits from.
    fn inherited(&self, name: &str) -> Result<Table> {
        let mut table = self.table(name)?;
        for _ in 0..INHERITED_MAX {
            let Some(from) = table.remove(INHERIT) else {
                return Ok(table);
            };
            let from = from.as_str().and_then(|file| file.strip_suffix(".toml"));
            let wrong = |wrong: String| Error::Content {
                path: self.path(name),
                wrong,
            };
            let from = from.ok_or_else(|| wrong("inherit is not the name of a file".into()))?;
            if !self.path(from).is_file() {
                let files = self.directory.display();
                return Err(wrong(format!(
                    "inherits from {from}.toml, which {files} lacks"
                )));
            }
            let mut base = self.table(from)?;
            // A title is the file's own: what is inherited from need not be a board.
            base.remove(TITLE);
            table = merged(base, table);
        }
        Err(Error::Content {
            path: self.path(name),
            wrong: "inherits from itself, through other files".to_owned(),
        })
    }
}

/// Returns `base` with what `own` says put over it. Tables are merged, other values replaced.
fn merged(mut base: Table, own: Table) -> Table {
    for (key, value) in own {
        let value = match (base.remove(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => Value::Table(merged(under, over)),
            (_, over) => over,
        };
        base.insert(key, value);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{debian::Pins, target_file::Target};

    #[test]
    fn every_board_reads_and_names_what_there_is() {
        let workspace = Workspace::find();
        let boards = Board::known(&workspace);
        assert!(boards.len() >= 9, "only {boards:?}");
        assert!(!boards.iter().any(|name| name == "base" || name == "debian"));
        let pins = Pins::read(&workspace).unwrap_or_else(|error| panic!("{error}"));
        for name in boards {
            let board = Board::read(&workspace, &name).unwrap_or_else(|error| panic!("{error}"));
            let target = Target::read(&workspace, &board.target);
            let target = target.unwrap_or_else(|error| panic!("{name}: {error}"));
            let packages = [
                board.kernel.package.as_ref(),
                board.uefi.as_ref().map(|uefi| &uefi.package),
                board.raspberry.as_ref().map(|firmware| &firmware.package),
            ];
            for package in packages.into_iter().flatten() {
                let pin = pins.pin(package);
                let pin = pin.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(pin.arch, target.deb_arch, "{name}: {package}");
            }
        }
    }

    #[test]
    fn a_file_that_boards_inherit_from_is_no_board() {
        let error = Board::read(&Workspace::find(), "base")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no board `base`; there are: qemu-arm64"),
            "{error}"
        );
    }

    /// Reads the last of some files, whose names are a, b and so on.
    fn read(texts: &[&str]) -> std::result::Result<Table, String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let own = format!("boards-{}-{number}", std::process::id());
        let files = Files {
            directory: std::env::temp_dir().join(own),
        };
        fs::create_dir_all(&files.directory).unwrap();
        let names = ["a", "b", "c"];
        for (name, text) in names.iter().zip(texts) {
            fs::write(files.path(name), text).unwrap();
        }
        let read = files.inherited(names[texts.len() - 1]);
        fs::remove_dir_all(&files.directory).unwrap();
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_inherits_what_it_does_not_say() {
        let base = "title = \"base\"\n[budget]\nimage = 48\nmemory = 128\n[broker]\nthreads = 1";
        let family = "inherit = \"a.toml\"\n[budget]\nimage = 32";
        let board = "inherit = \"b.toml\"\ntitle = \"x\"\n[broker]\nthreads = 2";
        let table = read(&[base, family, board]).unwrap();
        let expected = "title = \"x\"\n[broker]\nthreads = 2\n[budget]\nimage = 32\nmemory = 128";
        assert_eq!(table, toml::from_str::<Table>(expected).unwrap());
    }

    #[test]
    fn what_is_wrong_with_inheritance_is_said() {
        let circle = read(&["inherit = \"b.toml\"", "inherit = \"a.toml\""]).unwrap_err();
        assert!(circle.contains("inherits from itself"), "{circle}");
        let lacking = read(&["inherit = \"nothing.toml\""]).unwrap_err();
        assert!(
            lacking.contains("inherits from nothing.toml, which"),
            "{lacking}"
        );
        let number = read(&["inherit = 3"]).unwrap_err();
        assert!(
            number.contains("inherit is not the name of a file"),
            "{number}"
        );
    }

    #[test]
    fn a_board_that_lacks_something_is_refused() {
        let workspace = Workspace::find();
        let refused = |change: fn(&mut Board), part: &str| {
            let mut board = Board::read(&workspace, "qemu-arm64").unwrap();
            change(&mut board);
            let error = board.check().unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused(|board| board.uefi = None, "needs a section [uefi]");
        refused(|board| board.console.clear(), "no console");
        refused(
            |board| drop(board.broker.insert("a.b".into(), Value::Array(Vec::new()))),
            "broker.\"a.b\" is neither",
        );
        assert!(Tier::try_from(4).unwrap_err().contains("1, 2 or 3"));
    }
}
