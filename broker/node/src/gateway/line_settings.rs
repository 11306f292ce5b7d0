//! Sets a serial line to raw bytes, with its speed and parity.

#![allow(unsafe_code, reason = "termios is a C interface")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;

use crate::config::{Parity, SerialConfig};

/// The speeds that Linux has constants for.
const SPEEDS: &[(u32, libc::speed_t)] = &[
    (1200, libc::B1200),
    (2400, libc::B2400),
    (4800, libc::B4800),
    (9600, libc::B9600),
    (19_200, libc::B19200),
    (38_400, libc::B38400),
    (57_600, libc::B57600),
    (115_200, libc::B115200),
    (230_400, libc::B230400),
    (460_800, libc::B460800),
    (500_000, libc::B500000),
    (576_000, libc::B576000),
    (921_600, libc::B921600),
    (1_000_000, libc::B1000000),
    (1_500_000, libc::B1500000),
    (2_000_000, libc::B2000000),
    (3_000_000, libc::B3000000),
    (4_000_000, libc::B4000000),
];

/// Sets an open line. What was received before is dropped: its speed was another one.
///
/// # Errors
/// The file is not a terminal, or does not have the speed.
pub fn set(line: &File, config: &SerialConfig) -> io::Result<()> {
    let speed = SPEEDS.iter().find(|(baud, _)| *baud == config.baud);
    let Some((_, speed)) = speed else {
        let known: Vec<String> = SPEEDS.iter().map(|(baud, _)| baud.to_string()).collect();
        let why = format!("{} baud is not one of {}", config.baud, known.join(", "));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    };
    let fd = line.as_raw_fd();
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: `settings` has room for a termios, and the descriptor is open.
    check(unsafe { libc::tcgetattr(fd, settings.as_mut_ptr()) })?;
    // SAFETY: `tcgetattr` succeeded, so it has filled all fields.
    let mut settings = unsafe { settings.assume_init() };
    // SAFETY: `settings` is a valid termios.
    unsafe { libc::cfmakeraw(&raw mut settings) };
    settings.c_cflag |= libc::CLOCAL | libc::CREAD;
    settings.c_cflag &= !(libc::PARENB | libc::PARODD | libc::CSTOPB | libc::CRTSCTS);
    match config.parity {
        Parity::None => {}
        Parity::Even => settings.c_cflag |= libc::PARENB,
        Parity::Odd => settings.c_cflag |= libc::PARENB | libc::PARODD,
    }
    // SAFETY: `settings` is a valid termios, and the speed is one of the constants.
    check(unsafe { libc::cfsetspeed(&raw mut settings, *speed) })?;
    // SAFETY: `settings` is a valid termios, and the descriptor is open.
    check(unsafe { libc::tcsetattr(fd, libc::TCSAFLUSH, &raw const settings) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
