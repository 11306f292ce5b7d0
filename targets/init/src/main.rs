//! `/init` of a device's image: mounts, loads modules, brings up the network, sets the clock, and
//! keeps the broker running.
//!
//! The order is that of what the broker needs: its slot, the configuration, the data partition.
//! Network and time servers are waited for in threads of their own, while the broker serves.

mod agent;
mod disks;
mod identity;
mod interfaces;
mod journal;
mod kernel;
mod slot;
mod supervisor;
mod time;
mod update;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{Resource, Rlimit, setrlimit};
use sedge_init::settings::{self, Settings};
use sedge_init::trial::TRIAL_MAX;

use disks::Partition;
use identity::Identity;
use supervisor::{Supervisor, USER};

/// Modules of the kernel, in the order in which they are loaded.
const MODULES: &str = "/modules/order";
/// The root of the slot, before it becomes `/`.
const ROOT: &str = "/root";
/// Time to read the console before a restart.
const PAUSE_BEFORE_RESTART: Duration = Duration::from_secs(3);
/// Time between two tries to mount a data partition that cannot be mounted.
const PAUSE_WITHOUT_DATA: Duration = Duration::from_secs(30);
/// Descriptors that the broker may have open.
const DESCRIPTORS: u64 = 65_536;
const STACK_BYTES: usize = 128 << 10;
/// Time that the supervisor has to end a trial that took too long.
const TRIAL_GRACE: Duration = Duration::from_secs(30);
const WATCHDOG_DEFAULT_S: u64 = 60;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "sedge-init is the first process of a device's image; `cargo xtask run --board \
             qemu-arm64` starts one"
        );
        return ExitCode::from(64);
    }
    let Err(why) = start();
    // The boot loader counts the tries of a slot that is new.
    say!("{why}; the device restarts");
    thread::sleep(PAUSE_BEFORE_RESTART);
    kernel::restart();
}

/// Starts the device. Returns only if there is no root for it.
fn start() -> io::Result<std::convert::Infallible> {
    mount_kernel_s()?;
    let command_line = fs::read_to_string("/proc/cmdline")?;
    load_modules();
    let slot = settings::slot(&command_line);
    enter_root(&format!("root_{}", slot.letter()))?;
    journal::to_memory(Path::new("/run/log"));
    say!("slot {}", slot.letter());
    let settings = read_settings();
    let identity = Identity::read(slot, &settings);
    let is_on_trial = watch_trial(&identity);
    // Best effort: with fewer descriptors, the broker takes fewer connections.
    let limit = Some(DESCRIPTORS);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    );
    interfaces::loopback();
    let for_network = settings.clone();
    start_thread("interfaces", move || interfaces::run(&for_network));
    let timeout = settings::word(&command_line, "watchdog").and_then(|word| word.parse().ok());
    let timeout = Duration::from_secs(timeout.unwrap_or(WATCHDOG_DEFAULT_S));
    let supervisor = Supervisor::new(timeout, identity.clone(), is_on_trial)?;
    mount_data(settings::word(&command_line, "data").unwrap_or_default());
    identity::settle(slot);
    if !is_on_trial && let Err(error) = identity.remember_revoked() {
        say!("the revoked keys cannot be written: {error}");
    }
    if let Err(error) = agent::start(identity) {
        say!("the device takes no updates: {error}");
    }
    time::start();
    if settings.log_to_disk
        && let Err(error) = journal::to_disk(Path::new("/data/log"))
    {
        say!("the log is kept in memory only: {error}");
    }
    start_thread("time", move || time::run(&settings.time_servers));
    supervisor.run()
}

/// Returns whether the slot is on trial. Then the device goes back if the trial does not end, which
/// also holds if the data partition cannot be mounted or the supervisor hangs.
fn watch_trial(identity: &Identity) -> bool {
    let is_on_trial = slot::is_on_trial(identity.slot).unwrap_or_else(|error| {
        say!("the boot partition cannot be read: {error}");
        false
    });
    if is_on_trial {
        say!("slot {} is on trial", identity.slot.letter());
        let identity = identity.clone();
        start_thread("trial", move || {
            thread::sleep((TRIAL_MAX + TRIAL_GRACE).saturating_sub(journal::uptime()));
            if slot::is_on_trial(identity.slot).unwrap_or(true) {
                supervisor::fail(&identity, "its trial did not end");
            }
        });
    }
    is_on_trial
}

fn mount_kernel_s() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (file_system, at, flags) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID),
        ("proc", "/proc", flags | MountFlags::NODEV),
        ("sysfs", "/sys", flags | MountFlags::NODEV),
        ("tmpfs", "/run", flags | MountFlags::NODEV),
    ] {
        fs::create_dir_all(at)?;
        mount(file_system, at, file_system, flags, None)?;
    }
    Ok(())
}

/// Loads the modules of the initramfs, and frees their memory.
fn load_modules() {
    for path in fs::read_to_string(MODULES).unwrap_or_default().lines() {
        let loaded = File::open(path).and_then(|module| kernel::load_module(&module));
        // A module whose device is not there may refuse.
        if let Err(error) = loaded
            && error.raw_os_error() != Some(libc::ENODEV)
        {
            say!("{path}: {error}");
        }
    }
    let _ = fs::remove_dir_all("/modules");
}

/// Makes the root partition of the slot `/`, and mounts what the broker sees of the owner.
fn enter_root(label: &str) -> io::Result<()> {
    fs::create_dir_all(ROOT)?;
    let why = |error: io::Error| io::Error::other(format!("{label} cannot be mounted: {error}"));
    let root = Partition::wait_for(label)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    root.mount(ROOT, "erofs", flags, "").map_err(why)?;
    for directory in ["dev", "proc", "sys", "run"] {
        mount_move(format!("/{directory}"), format!("{ROOT}/{directory}"))?;
    }
    std::env::set_current_dir(ROOT)?;
    mount_move(".", "/")?;
    std::os::unix::fs::chroot(".")?;
    std::env::set_current_dir("/")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", "/tmp", "tmpfs", flags, Some(c"size=16m,mode=1777"))?;
    Ok(())
}

/// Mounts the owner's partition and reads `device.properties`. Without them, defaults are used.
fn read_settings() -> Settings {
    // Keys on it belong to root, and the broker's group may read them.
    let options = format!("uid=0,gid={USER},fmask=0137,dmask=0027");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    let mounted = Partition::wait_for("config")
        .and_then(|partition| partition.mount("/config", "vfat", flags, &options));
    if let Err(error) = mounted {
        say!("the partition `config` cannot be mounted: {error}");
    }
    let text = fs::read("/config/device.properties").unwrap_or_default();
    let (settings, wrong) = Settings::read(&String::from_utf8_lossy(&text));
    for line in wrong {
        say!("{line}");
    }
    if let Some(name) = &settings.hostname
        && let Err(error) = fs::write("/proc/sys/kernel/hostname", name)
    {
        say!("the host cannot be named {name}: {error}");
    }
    settings
}

/// Mounts the data partition. Waits for one that can be mounted: a broker that wrote to memory
/// would lose what it acknowledged.
fn mount_data(options: &str) {
    loop {
        match try_mount_data(options) {
            Ok(()) => return,
            Err(error) => {
                let seconds = PAUSE_WITHOUT_DATA.as_secs();
                say!(
                    "the data partition cannot be mounted: {error}; no broker runs, and the next \
                     try is in {seconds} s"
                );
                thread::sleep(PAUSE_WITHOUT_DATA);
            }
        }
    }
}

fn try_mount_data(options: &str) -> io::Result<()> {
    let data = Partition::wait_for("data")?;
    if let Err(error) = data.extend() {
        say!("the data partition keeps its size: {error}");
    }
    let flags = MountFlags::NOATIME | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    data.mount("/data", "ext4", flags, options)?;
    if let Err(error) = data.fill("/data") {
        say!("the data partition's file system keeps its size: {error}");
    }
    Ok(())
}

/// Starts a thread that lives as long as the device, or the broker that it reads from.
fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    let builder = thread::Builder::new().name(name.to_owned());
    if let Err(error) = builder.stack_size(STACK_BYTES).spawn(work) {
        say!("the thread `{name}` cannot be started: {error}");
    }
}

/// Returns a number that nobody else knows.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    match read {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => journal::uptime().as_nanos() as u64,
    }
}
