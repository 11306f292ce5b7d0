//! What only the kernel does, and neither `std` nor rustix offers here: each is one system call.
#![expect(
    unsafe_code,
    reason = "system calls without a safe interface; each says why it is sound"
)]

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// `EXT4_IOC_RESIZE_FS`: takes the new number of blocks.
const EXT4_RESIZE: u32 = 0x4008_6610;
/// `BLKPG`: changes one partition in the kernel's table.
const BLOCK_PARTITION: u32 = 0x1269;
const RESIZE_PARTITION: i32 = 3;
/// `WDIOC_SETTIMEOUT`: takes seconds.
const WATCHDOG_TIMEOUT: u32 = 0xC004_5706;

/// Loads a module of the kernel.
pub fn load_module(module: &File) -> io::Result<()> {
    let (module, none) = (module.as_raw_fd(), c"".as_ptr());
    // SAFETY: the descriptor is open as long as its `File` lives, and the parameters are an empty
    // string that ends with a zero.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, module, none, 0) };
    check(result as i32)
}

/// Extends a mounted ext4 to this many blocks.
pub fn resize_ext4(mounted: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one u64, which lives until the call returns.
    check(unsafe { libc::ioctl(mounted.as_raw_fd(), EXT4_RESIZE as _, &raw const blocks) })
}

/// Sets the timeout of a watchdog.
pub fn set_watchdog(watchdog: &File, seconds: i32) -> io::Result<()> {
    let mut seconds = seconds;
    // SAFETY: the kernel reads and writes one int, which lives until the call returns.
    check(unsafe {
        libc::ioctl(
            watchdog.as_raw_fd(),
            WATCHDOG_TIMEOUT as _,
            &raw mut seconds,
        )
    })
}

/// `struct blkpg_partition`.
#[repr(C)]
struct BlockPartition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlockPartitionChange {
    operation: i32,
    flags: i32,
    bytes: i32,
    partition: *mut BlockPartition,
}

/// Tells the kernel the new length of a partition, in bytes. The partition may be in use.
pub fn resize_partition(disk: &File, number: i32, start: i64, length: i64) -> io::Result<()> {
    let mut partition = BlockPartition {
        start,
        length,
        number,
        names: [0; 128],
    };
    let mut change = BlockPartitionChange {
        operation: RESIZE_PARTITION,
        flags: 0,
        bytes: size_of::<BlockPartition>() as i32,
        partition: &raw mut partition,
    };
    // SAFETY: both structures have the kernel's layout and live until the call returns.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), BLOCK_PARTITION as _, &raw mut change) })
}

/// Lets a socket use one interface alone, which works before the interface has an address.
pub fn bind_to(socket: &UdpSocket, interface: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `interface.len()` bytes, all of which are in `interface`.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            interface.len() as libc::socklen_t,
        )
    })
}

/// Restarts the device at once. Files are synced before.
pub fn restart() -> ! {
    rustix::fs::sync();
    loop {
        // SAFETY: the call has no memory of this process as an argument.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
