//! A device: a copy of an image in QEMU, with its console.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sedge_tests::process::Process;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{limits, tools};

/// The device's listener, on this machine; `sedge.toml` advertises it. The kernel gives no other
/// test a port below 32,768 (`ip_local_port_range`).
const PORT: u16 = 19_092;
/// The device's console, on this machine.
pub const CONSOLE: &str = "127.0.0.1:19644";
/// Longest boot: QEMU emulates every instruction, perhaps beside other work.
pub const BOOT: Duration = Duration::from_mins(4);
const TOPIC: &str = "readings";
/// Where the partitions `boot` and `config` begin, for mtools.
const BOOT_AT: &str = "1M";
const CONFIG_AT: &str = "129M";
/// Where the partition `root_b` begins.
const ROOT_B_AT: u64 = 193 << 20;

pub struct Device {
    board: String,
    directory: TempDir,
    qemu: Option<Process>,
    /// A file that gets all writes of the card.
    write_log: Option<PathBuf>,
}

impl Device {
    /// A device with a new card.
    pub fn new(board: &str) -> Self {
        Self {
            board: board.to_owned(),
            directory: TempDir::on_disk(board),
            qemu: None,
            write_log: None,
        }
    }

    /// The board's image, as made before the tests.
    pub fn image(&self) -> PathBuf {
        images().join(format!("{}.img", self.board))
    }

    /// Logs all writes and flushes of the card, from the next start on.
    pub fn log_writes(&mut self, to: &Path) {
        fs::write(to, "").expect("a scratch file");
        self.write_log = Some(to.to_owned());
    }

    pub fn card(&self) -> PathBuf {
        let card = self.directory.join("card");
        if !card.exists() {
            let mut copy = Command::new("cp");
            copy.arg("--sparse=always").args([&self.image(), &card]);
            run("cp", &mut copy);
            let file = fs::OpenOptions::new().write(true).open(&card);
            let extended = file.and_then(|file| file.set_len(1 << 30));
            extended.expect("a card can be larger than its image");
        }
        card
    }

    /// A scratch file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Copies a file to a FAT partition of the card.
    pub fn put(&self, partition: &str, from: &Path, to: &str) {
        let mut copy = Command::new("mcopy");
        copy.args(["-o", "-i", &at(&self.card(), partition)]);
        copy.arg(from).arg(format!("::{to}"));
        run("mcopy", &mut copy);
    }

    /// Returns a file of a FAT partition of the card.
    pub fn get(&self, partition: &str, name: &str) -> String {
        let mut show = Command::new("mtype");
        show.args(["-i", &at(&self.card(), partition), &format!("::{name}")]);
        run("mtype", &mut show)
    }

    /// Waits until the device writes to its slot B.
    pub fn wait_for_write(&self) {
        let card = File::open(self.card()).expect("the card");
        let until = Instant::now() + BOOT;
        let mut begin = [0; 4096];
        while begin == [0; 4096] {
            let late = Instant::now() > until;
            assert!(!late, "slot B is not written:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(5));
            card.read_exact_at(&mut begin, ROOT_B_AT)
                .expect("the card is whole");
        }
    }

    /// The entries of the boot loader.
    pub fn boot_entries(&self) -> Vec<String> {
        let mut list = Command::new("mdir");
        list.args(["-b", "-i", &at(&self.card(), "boot"), "::loader/entries"]);
        let listed = run("mdir", &mut list);
        let names = listed.lines().filter_map(|line| line.rsplit('/').next());
        names.map(str::to_owned).collect()
    }

    /// Switches the device on.
    pub fn start(&mut self) {
        let mut xtask = Command::new(xtask());
        xtask.args(["run", "--board", &self.board, "--forward"]);
        xtask.arg(format!("{PORT}:9092"));
        xtask.args(["--forward", "19644:9644"]);
        xtask.arg("--card").arg(self.card());
        if let Some(log) = &self.write_log {
            xtask.arg("--write-log").arg(log);
        }
        self.qemu = Some(Process::spawn("qemu", &mut xtask));
    }

    /// Switches the device on, and waits until its broker is ready.
    pub fn boot(&mut self) {
        self.start();
        self.wait_for("sedge ready:");
    }

    /// Pulls the plug.
    pub fn cut(&mut self, how: Signal) {
        let mut qemu = self.qemu.take().expect("the device runs");
        qemu.signal(how);
        qemu.wait_exit(limits::COMMAND);
    }

    /// Waits for a line of the console.
    pub fn wait_for(&self, part: &str) {
        let until = Instant::now() + BOOT;
        while !self.console().contains(part) {
            let late = Instant::now() > until;
            assert!(!late, "no `{part}` on the console:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn console(&self) -> String {
        let qemu = self.qemu.as_ref();
        qemu.map_or_else(String::new, |qemu| qemu.output().stdout.join("\n"))
    }

    /// Makes the image again in a directory of its own.
    pub fn make_again(&self) -> PathBuf {
        let mut xtask = Command::new(xtask());
        xtask.args(["image", "--board", &self.board, "--config"]);
        xtask.arg(tools::root().join("tests/tests/image/sedge.toml"));
        xtask.arg("--directory").arg(self.directory.path());
        // A nested cargo might see another environment and build the broker again.
        xtask.arg("--broker");
        xtask.arg(from_environment("SEDGE_BROKERS").join(&self.board));
        let keys = fs::read_to_string(images().join("keys")).expect("the keys of the image");
        xtask.args(keys.lines());
        run("xtask image", &mut xtask);
        self.directory.join(&format!("{}.img", self.board))
    }
}

/// Produces records with the numbers from `first` on, with acks=all.
pub fn produce(first: i64, count: i64) {
    let numbers: Vec<String> = (first..first + count).map(|n| n.to_string()).collect();
    let mut kcat = kcat();
    kcat.args(["-P", "-t", TOPIC, "-X", "acks=all"]);
    let done = Process::run(
        "kcat",
        &mut kcat,
        numbers.join("\n").as_bytes(),
        limits::COMMAND,
    );
    tools::must(done, "kcat -P");
}

/// Consumes the numbers of all records.
pub fn consume() -> Vec<i64> {
    let mut kcat = kcat();
    kcat.args(["-C", "-t", TOPIC, "-e", "-q"]);
    let done = Process::run("kcat", &mut kcat, b"", limits::COMMAND);
    let done = tools::must(done, "kcat -C");
    let numbers = done.stdout.lines().map(str::parse);
    numbers.map(|number| number.expect("a number")).collect()
}

fn kcat() -> Command {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &format!("127.0.0.1:{PORT}")]);
    kcat
}

fn at(card: &Path, partition: &str) -> String {
    let at = match partition {
        "boot" => BOOT_AT,
        _ => CONFIG_AT,
    };
    format!("{}@@{at}", card.display())
}

/// The directory with the images and with the keys that they trust.
pub fn images() -> PathBuf {
    from_environment("SEDGE_IMAGES")
}

fn xtask() -> PathBuf {
    from_environment("SEDGE_XTASK")
}

fn from_environment(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    let value = value.unwrap_or_else(|| panic!("{name}: run `cargo xtask test --only image`"));
    PathBuf::from(value)
}

pub fn run(name: &str, command: &mut Command) -> String {
    let done = Process::run(name, command, b"", BOOT);
    tools::must(done, name).stdout
}
