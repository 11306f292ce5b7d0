//! `cargo xtask image`: makes the image of a board, without root and without loop devices. The same
//! sources, packages and configuration give the same bytes.

mod boot;
mod cpio;
mod disk;
pub mod flash;
mod modules;
mod root;
pub mod run;
mod slot_image;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sedge_init::gpt::kind;

use crate::{
    board_file::{Board, Boot},
    build::{self, Compiler},
    debian::Pins,
    error::{Error, Result},
    process, setup,
    target_file::Target,
    workspace::Workspace,
};
use disk::{Content, FatFile, Plan};
use modules::{Module, Modules};
use root::Root;
use slot_image::About;

/// Modules that every board needs: the file systems of its partitions, and checksums for them.
const MODULES: [&str; 6] = [
    "erofs",
    "ext4",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "crc32c_generic",
];
/// Reserved blocks are for root, and the broker is not root.
const EXT4: [&str; 10] = [
    "-q",
    "-t",
    "ext4",
    "-b4096",
    "-m0",
    "-L",
    "data",
    "-O",
    "metadata_csum,64bit",
    "-E",
];
const DEVICE_PROPERTIES: &str = "\
# The device. Remove the # of a line to change what it says, then restart the device.
#hostname=edge-7
#network.interface=eth0
#network.address=192.168.1.20/24
#network.gateway=192.168.1.1
#network.dns=192.168.1.1
#ntp.servers=192.168.1.1
#log.to.disk=true
#update.trusted.keys=
#update.revoked.keys=
";

/// What an image is made from, besides the board.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The owner's `sedge.toml`, whose settings come after the board's.
    pub config: Option<PathBuf>,
    /// A broker for the board that was built before.
    pub broker: Option<PathBuf>,
    /// The directory of the image, instead of `images` in cargo's target directory.
    pub directory: Option<PathBuf>,
    /// Public keys whose updates the device takes, and those that it takes none of any more.
    pub trusted_keys: Vec<String>,
    pub revoked_keys: Vec<String>,
}

/// An image that was made.
#[derive(Debug)]
pub struct Image {
    /// The disk's bytes.
    pub raw: PathBuf,
    /// The same, compressed.
    pub compressed: PathBuf,
    /// What an update writes to a slot.
    pub slot: PathBuf,
    /// The broker in the image.
    pub broker: PathBuf,
}

/// The kernel of a slot.
#[derive(Debug)]
pub struct Kernel {
    pub image: Vec<u8>,
    /// Compressed.
    pub initramfs: Vec<u8>,
    pub devicetree: Option<PathBuf>,
}

/// Makes the image of `board`, and checks its size.
pub fn make(workspace: &Workspace, board: &Board, inputs: &Inputs) -> Result<Image> {
    setup::for_images()?;
    let target = Target::read(workspace, &board.target)?;
    setup::for_target(workspace, &target)?;
    let pins = Pins::read(workspace)?;
    let package = board
        .kernel
        .package
        .as_ref()
        .ok_or_else(|| Error::Missing {
            what: format!("a kernel for {}", board.name),
            remedy: format!("boards/{}.toml says why", board.name),
        })?;
    let kernel = pins.pin(package)?.unpacked(workspace)?;
    let init = build::init(workspace, &target)?;
    let compiler = if target.compiler {
        Compiler::In
    } else {
        Compiler::Out
    };
    let built_before = inputs.broker.clone().map(Ok);
    let broker = built_before.unwrap_or_else(|| {
        let built = build::run(workspace, &target, compiler);
        built.map(|built| built.binary)
    })?;
    let directory = inputs.directory.clone();
    let directory = directory.unwrap_or_else(|| workspace.target.join("images"));
    fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
    let place = |what: &str| directory.join(format!("{}.{what}", board.name));
    let settings = settings(board, inputs.config.as_deref())?;
    let seed = format!("sedge/{}", board.name);
    let kernel = kernel_of(board, &kernel, &init, &place("initrd"))?;
    let root = place("root.erofs");
    let about = About::of(board, &target, &broker, built(workspace)?)?;
    Root {
        target: &target,
        broker: &broker,
        settings: &board_settings(board),
        properties: &about.properties(&inputs.trusted_keys, &inputs.revoked_keys)?,
        built: about.built,
        id: &uuid(&format!("{seed}/root_a")),
    }
    .write(&place("root"), &root)?;
    let data = place("data.ext4");
    write_data(&data, board.layout.data_mib, &seed, about.built)?;
    let slot = place("slot");
    about.write(board, &root, &kernel, &slot)?;
    let boot = boot::files(workspace, board, &pins, kernel)?;
    let plans = partitions(board, boot, settings, root, data);
    let raw = place("img");
    let hybrid = (board.boot == Boot::Raspberry).then_some(0);
    disk::write(&raw, &seed, &plans, hybrid)?;
    let compressed = place("img.zst");
    compress(&raw, &compressed)?;
    let image = Image {
        raw,
        compressed,
        slot,
        broker,
    };
    image.check(board)?;
    Ok(image)
}

impl Image {
    fn check(&self, board: &Board) -> Result<()> {
        let bytes = fs::metadata(&self.compressed)
            .map_err(Error::file(&self.compressed))?
            .len();
        let (mib, budget) = (
            bytes as f64 / f64::from(1 << 20),
            board.budget.image_max_mib,
        );
        let fits = mib <= budget;
        println!(
            "image of {}: {}: {mib:.1} MiB of {budget} MiB ({}); uncompressed {}",
            board.title,
            self.compressed.display(),
            if fits { "fits" } else { "TOO LARGE" },
            self.raw.display(),
        );
        println!("its update, to be signed: {}", self.slot.display());
        if fits {
            Ok(())
        } else {
            Err(Error::Checks { failed: 1 })
        }
    }
}

fn partitions(
    board: &Board,
    boot: Vec<FatFile>,
    settings: String,
    root: PathBuf,
    data: PathBuf,
) -> Vec<Plan> {
    let config = vec![
        FatFile::new("sedge.toml", settings),
        FatFile::new("device.properties", DEVICE_PROPERTIES),
    ];
    let boot_kind = match board.boot {
        Boot::Uefi => kind::EFI_SYSTEM,
        Boot::Uboot | Boot::Raspberry => kind::BASIC_DATA,
    };
    let layout = &board.layout;
    let plan = |name, kind, mib, content| Plan {
        name,
        kind,
        mib,
        content,
    };
    vec![
        plan("boot", boot_kind, layout.boot_mib, Content::Fat(boot)),
        plan(
            "config",
            kind::BASIC_DATA,
            layout.config_mib,
            Content::Fat(config),
        ),
        plan("root_a", kind::LINUX, layout.root_mib, Content::Bytes(root)),
        plan("root_b", kind::LINUX, layout.root_mib, Content::Empty),
        plan("data", kind::LINUX, layout.data_mib, Content::Bytes(data)),
    ]
}

fn board_settings(board: &Board) -> String {
    format!(
        "# The settings of the board {}.\n{}",
        board.name,
        board.broker_lines()
    )
}

/// Returns the `sedge.toml` of the image: the board's settings, except those that the owner's file
/// has, then the owner's.
fn settings(board: &Board, own: Option<&Path>) -> Result<String> {
    let Some(path) = own else {
        return Ok(board_settings(board));
    };
    let text = fs::read_to_string(path).map_err(Error::file(path))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| Error::Content {
        path: path.to_owned(),
        wrong: error.to_string(),
    })?;
    let mut board = board.clone();
    board.broker.retain(|key, _| !table.contains_key(key));
    let lines = board_settings(&board);
    Ok(format!("{lines}\n# Those of the owner.\n{text}"))
}

fn kernel_of(board: &Board, package: &Path, init: &Path, initrd: &Path) -> Result<Kernel> {
    let boot = package.join("boot");
    let files = fs::read_dir(&boot).map_err(Error::file(&boot))?.flatten();
    let is_kernel = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz")
    };
    let path = files.map(|file| file.path()).find(is_kernel);
    let path = path.ok_or_else(|| Error::Content {
        path: boot.clone(),
        wrong: "has no kernel".to_owned(),
    })?;
    let image = fs::read(&path).map_err(Error::file(&path))?;
    let names = MODULES.map(str::to_owned);
    let names: Vec<String> = names
        .into_iter()
        .chain(board.kernel.modules.clone())
        .collect();
    let modules = Modules::of(package)?.with_dependencies(&names)?;
    let init = fs::read(init).map_err(Error::file(init))?;
    fs::write(initrd, initramfs(&init, &modules)).map_err(Error::file(initrd))?;
    let initramfs = process::bytes(Command::new("zstd").args(["-19", "-q", "-c"]).arg(initrd))?;
    let devicetree = board.kernel.devicetree.as_ref().map(|tree| {
        let version = path.file_name().unwrap_or_default().to_string_lossy();
        let version = version.replacen("vmlinuz", "linux-image", 1);
        package.join("usr/lib").join(version).join(tree)
    });
    Ok(Kernel {
        image,
        initramfs,
        devicetree,
    })
}

fn initramfs(init: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = cpio::Archive::default();
    for directory in ["dev", "modules"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    archive.program("init", init);
    let path = |module: &Module| format!("modules/{}.ko", module.name);
    for module in modules {
        archive.file(&path(module), &module.bytes);
    }
    let order = modules.iter().map(|module| {
        format!(
            "/{}
",
            path(module)
        )
    });
    archive.file("modules/order", order.collect::<String>().as_bytes());
    archive.finish()
}

/// Writes an empty ext4, which the first boot extends.
fn write_data(to: &Path, mib: u64, seed: &str, built: u64) -> Result<()> {
    let _ = fs::remove_file(to);
    let (own, hash) = (uuid(&format!("{seed}/data")), uuid(&format!("{seed}/hash")));
    let extended = format!("hash_seed={hash},lazy_itable_init=1,nodiscard");
    let mut command = Command::new("/usr/sbin/mke2fs");
    command
        .args(EXT4)
        .args([&extended, "-U", &own])
        .arg(to)
        .arg(format!("{mib}M"))
        .env("E2FSPROGS_FAKE_TIME", built.to_string())
        .env("SOURCE_DATE_EPOCH", built.to_string());
    process::run_quietly(&mut command)
}

/// Returns an id in the form of a UUID.
fn uuid(name: &str) -> String {
    let digits = u128::from_be_bytes(disk::id(name));
    let digits = format!("{digits:032x}");
    let [a, b, c, d] = [8, 12, 16, 20];
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..a],
        &digits[a..b],
        &digits[b..c],
        &digits[c..d],
        &digits[d..]
    )
}

/// Returns the time of the last commit, or `SOURCE_DATE_EPOCH`, in seconds since 1970.
pub fn built(workspace: &Workspace) -> Result<u64> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => process::output(
            Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(&workspace.root),
        )?,
    };
    seconds.trim().parse().map_err(|_| Error::Missing {
        what: "the time of the last commit".to_owned(),
        remedy: "set SOURCE_DATE_EPOCH to seconds since 1970".to_owned(),
    })
}

fn compress(raw: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("zstd");
    command
        .args(["-q", "-f", "-9", "-T2", "-o"])
        .args([to, raw]);
    process::run_quietly(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_s_settings_take_the_place_of_the_board_s() {
        let workspace = Workspace::find();
        let board = Board::read(&workspace, "qemu-arm64").unwrap();
        let own = std::env::temp_dir().join(format!("own-{}.toml", std::process::id()));
        fs::write(
            &own,
            "\"sedge.profile\" = \"standard\"\n[mirror.hq]\ntopics = [\"a\"]\n",
        )
        .unwrap();
        let settings = settings(&board, Some(&own)).unwrap();
        fs::remove_file(&own).unwrap();
        let table: toml::Table = toml::from_str(&settings).unwrap();
        assert_eq!(table["sedge.profile"].as_str(), Some("standard"));
        assert_eq!(table["sedge.segment.bytes"].as_integer(), Some(16_777_216));
        assert!(table["mirror"]["hq"].is_table());
    }

    #[test]
    fn an_id_has_the_form_of_a_uuid() {
        let groups: Vec<usize> = uuid("a").split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
    }
}
