//! The stream of bytes to a device: a TCP connection or a serial line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;

use async_io::{Async, Timer};
use futures_lite::future;

use super::limits::SILENCE_MAX;
use super::line_settings;
use crate::config::SerialConfig;

/// A stream of bytes.
#[derive(Debug)]
pub enum Wire {
    Tcp(Async<TcpStream>),
    Serial(Async<File>),
}

impl Wire {
    /// Opens a serial line.
    ///
    /// # Errors
    /// The device does not exist, may not be opened, or is no terminal.
    pub fn open(config: &SerialConfig) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(&config.device)?;
        line_settings::set(&file, config)?;
        Ok(Self::Serial(Async::new(file)?))
    }

    /// Waits for bytes. Returns 0 at the end of a connection, and after a hang-up.
    pub async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_with(|mut stream| stream.read(room)).await,
            Self::Serial(line) => line.read_with(|mut line| line.read(room)).await,
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// The connection broke, or took nothing for [`SILENCE_MAX`].
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = async {
                match self {
                    Self::Tcp(stream) => stream.write_with(|mut of| of.write(bytes)).await,
                    Self::Serial(line) => line.write_with(|mut of| of.write(bytes)).await,
                }
            };
            let over = async {
                Timer::after(SILENCE_MAX).await;
                Err(io::ErrorKind::TimedOut.into())
            };
            match future::or(write, over).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }
}
