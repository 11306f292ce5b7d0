//! Tells links when the device's network may be back, so that they try at once.
//!
//! Linux sends a message to each netlink socket that asked for changes of interfaces and addresses
//! (rtnetlink). Their contents do not matter: any change may have brought the network back. On
//! other systems, and without permission, links only go by their backoff.

use std::sync::{Arc, OnceLock};

use event_listener::{Event, EventListener};

use crate::process::runtime::Runtime;

/// The event of a network that may be back. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Network {
    event: Arc<Event>,
    is_watched: Arc<OnceLock<()>>,
}

impl Network {
    /// Watches the device's network from the first call on.
    pub fn watch(&self, runtime: &Runtime) {
        self.is_watched.get_or_init(|| self.begin(runtime));
    }

    fn begin(&self, runtime: &Runtime) {
        #[cfg(target_os = "linux")]
        match netlink::open() {
            Ok(socket) => {
                let event = Arc::clone(&self.event);
                runtime.spawn(netlink::listen(socket, event)).detach();
            }
            Err(error) => log::debug!(
                target: "sedge::mirror",
                "the kernel does not tell changes of the network: {error}"
            ),
        }
        #[cfg(not(target_os = "linux"))]
        let _ = runtime;
    }

    /// Returns a listener for the next change.
    pub fn listen(&self) -> EventListener {
        self.event.listen()
    }
}

#[cfg(target_os = "linux")]
mod netlink {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::time::Duration;

    use async_io::{Async, Timer};
    use event_listener::Event;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

    /// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    /// An interface that comes up sends several messages. Links try once for all of them.
    const SETTLE: Duration = Duration::from_millis(200);

    pub fn open() -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Its protocol is 0, `NETLINK_ROUTE`.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(socket)
    }

    pub async fn listen(socket: OwnedFd, event: Arc<Event>) {
        let Ok(socket) = Async::new(socket) else {
            return;
        };
        loop {
            if socket.readable().await.is_err() {
                return;
            }
            Timer::after(SETTLE).await;
            // What came meanwhile. An overflow (ENOBUFS) is a change, too.
            while recv(&socket, &mut [0; 4096], RecvFlags::empty()).is_ok() {}
            event.notify(usize::MAX);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;
    use std::sync::Arc;
    use std::time::Duration;

    use async_io::{Timer, block_on};
    use event_listener::Event;
    use futures_lite::FutureExt;

    use super::netlink;

    const INSIDE: &str = "SEDGE_TEST_IN_NAMESPACE";
    const NAME: &str = "mirror::network::tests::an_interface_that_comes_up_is_told";

    fn brings_up_an_interface() {
        let socket = netlink::open().expect("a netlink socket");
        let event = Arc::new(Event::new());
        let told = event.listen();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("ip runs").success());
        let is_told = async {
            told.await;
            true
        };
        let ends = async {
            netlink::listen(socket, event).await;
            false
        };
        let late = async {
            Timer::after(Duration::from_secs(30)).await;
            false
        };
        assert!(block_on(is_told.or(ends).or(late)));
    }

    /// Runs itself in a network namespace of its own, whose loopback is down.
    #[test]
    fn an_interface_that_comes_up_is_told() {
        if std::env::var_os(INSIDE).is_some() {
            brings_up_an_interface();
            return;
        }
        let test = std::env::current_exe().unwrap();
        let mut inside = Command::new("unshare");
        inside.arg("-n").arg(test).args([NAME, "--exact"]);
        match inside.env(INSIDE, "1").output() {
            Ok(done)
                if String::from_utf8_lossy(&done.stderr).contains("Operation not permitted") =>
            {
                eprintln!("skipped: no network namespaces can be made here");
            }
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stdout).into_owned();
                assert!(done.status.success() && said.contains("1 passed"), "{said}");
            }
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
}
