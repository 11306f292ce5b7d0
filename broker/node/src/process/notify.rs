//! Tells the service manager how the broker is, as `sd_notify(3)` does: systemd, or the init of a
//! device's image. Without `NOTIFY_SOCKET` in the environment, no manager asked, and nothing is
//! sent.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use async_io::Timer;

/// The manager's socket, and how often the manager wants to hear.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Half of the time after which the manager takes the broker for dead.
    interval: Option<Duration>,
}

impl Manager {
    /// Returns the manager of this process, if one asked to be told.
    pub fn of_this_process() -> Option<Self> {
        let socket = env::var_os("NOTIFY_SOCKET")?;
        let is_meant = env::var_os("WATCHDOG_PID").is_none_or(|pid| is_own(&pid));
        let watchdog = env::var_os("WATCHDOG_USEC").filter(|_| is_meant);
        match Self::new(&socket, watchdog.as_deref()) {
            Ok(manager) => Some(manager),
            Err(error) => {
                log::warn!(
                    target: "sedge",
                    "the service manager cannot be told that the broker is ready: {}: {error}",
                    socket.display()
                );
                None
            }
        }
    }

    fn new(socket: &OsStr, watchdog_us: Option<&OsStr>) -> io::Result<Self> {
        let watchdog_us = watchdog_us.and_then(|us| us.to_str()?.parse().ok());
        Ok(Self {
            address: address(socket)?,
            socket: UnixDatagram::unbound()?,
            interval: watchdog_us
                .filter(|us| *us > 0)
                .map(|us| Duration::from_micros(us) / 2),
        })
    }

    /// Says that clients are served.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Says that the broker shuts down.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says, as often as the manager wants, that the executor runs this task. An executor whose
    /// threads all hang answers neither clients nor `/livez`, and says nothing here.
    pub async fn keep_alive(&self) {
        let Some(interval) = self.interval else {
            return;
        };
        loop {
            self.tell("WATCHDOG=1");
            Timer::after(interval).await;
        }
    }

    fn tell(&self, what: &str) {
        // A manager that reads too slowly must not hold up the broker.
        let sent = self
            .socket
            .set_nonblocking(true)
            .and_then(|()| self.socket.send_to_addr(what.as_bytes(), &self.address));
        if let Err(error) = sent {
            log::warn!(target: "sedge", "cannot tell the service manager {what}: {error}");
        }
    }
}

fn is_own(pid: &OsString) -> bool {
    pid.to_str().and_then(|pid| pid.parse().ok()) == Some(std::process::id())
}

/// Returns a path's address, or for `@NAME` that of Linux's abstract namespace.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let read = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[test]
    fn a_manager_hears_when_the_broker_is_ready_lives_and_stops() {
        let name = format!("sedge-notify-{}", std::process::id());
        let bound = SocketAddr::from_abstract_name(&name).unwrap();
        let listening = UnixDatagram::bind_addr(&bound).unwrap();
        let address = OsString::from(format!("@{name}"));
        let manager = Manager::new(&address, Some(OsStr::new("20000"))).unwrap();
        manager.ready();
        assert_eq!(told(&listening), "READY=1");
        let twice = async {
            for _ in 0..2 {
                let got = blocking::unblock({
                    let listening = listening.try_clone().unwrap();
                    move || told(&listening)
                });
                assert_eq!(got.await, "WATCHDOG=1");
            }
        };
        futures_lite::future::block_on(futures_lite::future::or(twice, async {
            manager.keep_alive().await;
            unreachable!("a manager with a watchdog is told for ever");
        }));
        manager.stopping();
        while told(&listening) != "STOPPING=1" {}
    }

    #[test]
    fn a_manager_without_a_watchdog_is_not_told_for_ever() {
        let manager = Manager::new(OsStr::new("/nowhere"), None).unwrap();
        futures_lite::future::block_on(manager.keep_alive());
        // Nobody listens: that is logged, and harms nothing.
        manager.ready();
    }
}
