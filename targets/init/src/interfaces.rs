//! Brings the network up: each Ethernet interface gets a lease, or one gets the fixed address.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send};
use sedge_init::network::dhcp::{self, Answer, Exchange, Lease};
use sedge_init::network::netlink::{self as message, Address};
use sedge_init::settings::{Fixed, Settings};

use crate::{kernel, say};

const INTERFACES: &str = "/sys/class/net";
/// Interfaces that are used; a device with more names the one that it needs.
const INTERFACES_MAX: usize = 8;
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(50);
/// Time that a server has for an answer, first and at last.
const ANSWER_FIRST: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(16);
/// `ARPHRD_ETHER`.
const ETHERNET: &str = "1";

/// The time servers that leases named.
pub static TIME_SERVERS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Whether an interface has had an address and a carrier since the start.
pub static HAS_ADDRESS: AtomicBool = AtomicBool::new(false);

/// Brings interfaces up as they appear. Does not return.
pub fn run(settings: &Settings) {
    let mut known: Vec<String> = Vec::new();
    loop {
        for name in appeared(&known) {
            let is_wanted = settings.interface.as_ref().is_none_or(|of| *of == name);
            let is_free = settings.address.is_none() || known.is_empty();
            if !is_wanted || !is_free || known.len() == INTERFACES_MAX {
                continue;
            }
            known.push(name.clone());
            let fixed = settings.address.clone();
            let serve = move || {
                if let Err(error) = bring_up(&name, fixed.as_ref()) {
                    say!("{name} cannot be used: {error}");
                }
            };
            crate::start_thread("network", serve);
        }
        thread::sleep(LOOKED_FOR_EVERY);
    }
}

/// Returns the Ethernet interfaces that are not known yet.
fn appeared(known: &[String]) -> Vec<String> {
    let entries = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    let is_wired = |path: &Path| {
        let kind = fs::read_to_string(path.join("type")).unwrap_or_default();
        kind.trim() == ETHERNET && !path.join("wireless").exists()
    };
    let wired = entries.filter(|entry| is_wired(&entry.path()));
    let names = wired.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !known.contains(name)).collect();
    names.sort();
    names
}

/// Sets the loopback interface up.
pub fn loopback() {
    let up = Interface::find("lo").and_then(|lo| tell(&message::set_up(lo.index)));
    if let Err(error) = up {
        say!("lo cannot be used: {error}");
    }
}

struct Interface {
    name: String,
    index: u32,
    hardware: [u8; 6],
}

impl Interface {
    fn find(name: &str) -> io::Result<Self> {
        let read = |what: &str| fs::read_to_string(Path::new(INTERFACES).join(name).join(what));
        let mut hardware = [0; 6];
        for (byte, digits) in hardware.iter_mut().zip(read("address")?.trim().split(':')) {
            *byte = u8::from_str_radix(digits, 16).map_err(io::Error::other)?;
        }
        Ok(Self {
            name: name.to_owned(),
            index: read("ifindex")?.trim().parse().map_err(io::Error::other)?,
            hardware,
        })
    }

    fn has_carrier(&self) -> bool {
        let path = Path::new(INTERFACES).join(&self.name).join("carrier");
        fs::read_to_string(path).is_ok_and(|carrier| carrier.trim() == "1")
    }

    fn wait_for_carrier(&self) {
        while !self.has_carrier() {
            thread::sleep(LOOKED_FOR_EVERY);
        }
    }

    fn address(&self, address: Ipv4Addr, prefix: u8) -> Address {
        Address {
            interface: self.index,
            address,
            prefix,
        }
    }

    fn take(
        &self,
        address: Address,
        gateway: Option<Ipv4Addr>,
        names: &[Ipv4Addr],
    ) -> io::Result<()> {
        tell(&message::add(address))?;
        if let Some(gateway) = gateway {
            tell(&message::route_by(self.index, gateway))?;
        }
        if !names.is_empty() {
            let line = |server: &Ipv4Addr| format!("nameserver {server}\n");
            let lines: String = names.iter().map(line).collect();
            fs::write("/run/resolv.conf", lines)?;
        }
        Ok(())
    }
}

fn bring_up(name: &str, fixed: Option<&Fixed>) -> io::Result<()> {
    let interface = Interface::find(name)?;
    tell(&message::set_up(interface.index))?;
    if let Some(fixed) = fixed {
        let address = interface.address(fixed.address, fixed.prefix);
        interface.take(address, fixed.gateway, &fixed.name_servers)?;
        say!(
            "{name} has the fixed address {}/{}",
            fixed.address,
            fixed.prefix
        );
        interface.wait_for_carrier();
        HAS_ADDRESS.store(true, Ordering::Relaxed);
        return Ok(());
    }
    let mut held: Option<Lease> = None;
    loop {
        interface.wait_for_carrier();
        match renewed(&interface, held.as_ref())? {
            Some(lease) => {
                use_lease(&interface, &lease, held.as_ref())?;
                let until = Instant::now() + lease.time / 2;
                held = Some(lease);
                while Instant::now() < until && interface.has_carrier() {
                    thread::sleep(Duration::from_secs(1));
                }
            }
            None => {
                if let Some(lost) = held.take() {
                    say!("{name} has lost its address {}", lost.address);
                    tell(&message::remove(
                        interface.address(lost.address, lost.prefix),
                    ))?;
                }
            }
        }
    }
}

fn use_lease(interface: &Interface, lease: &Lease, held: Option<&Lease>) -> io::Result<()> {
    let Lease {
        address, prefix, ..
    } = *lease;
    if let Some(old) = held.filter(|old| old.address != address) {
        tell(&message::remove(interface.address(old.address, old.prefix)))?;
    }
    let own = interface.address(address, prefix);
    interface.take(own, lease.gateway, &lease.name_servers)?;
    HAS_ADDRESS.store(true, Ordering::Relaxed);
    let servers = lease.time_servers.iter().map(Ipv4Addr::to_string).collect();
    *TIME_SERVERS.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    if held.is_none_or(|old| old.address != address) {
        say!(
            "{} has the address {address}/{prefix} by DHCP",
            interface.name
        );
    }
    Ok(())
}

/// Asks for the lease that is held, or for one of any server. Waits for servers as long as the
/// carrier stays. `None` if the held lease has run out, or was taken back.
fn renewed(interface: &Interface, held: Option<&Lease>) -> io::Result<Option<Lease>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, dhcp::CLIENT_PORT))?;
    kernel::bind_to(&socket, &interface.name)?;
    socket.set_broadcast(true)?;
    let exchange = Exchange {
        number: crate::random() as u32,
        hardware: interface.hardware,
    };
    let given_up = held.map(|lease| Instant::now() + lease.time / 2);
    let mut patience = ANSWER_FIRST;
    let mut is_told = held.is_some();
    while interface.has_carrier() {
        let first = held.map_or_else(|| exchange.discover(), |lease| exchange.renew(lease));
        let mut answer = ask(&socket, exchange, &first, patience);
        if let Some(Answer::Offer(offer)) = &answer {
            answer = ask(&socket, exchange, &exchange.request(offer), patience);
        }
        match answer {
            Some(Answer::Ack(lease)) => return Ok(Some(lease)),
            Some(Answer::Nak) if held.is_some() => return Ok(None),
            _ => {}
        }
        if given_up.is_some_and(|at| Instant::now() > at) {
            return Ok(None);
        }
        if patience == ANSWER_MAX && !is_told {
            say!("no DHCP server answers on {}; asking on", interface.name);
            is_told = true;
        }
        patience = (patience * 2).min(ANSWER_MAX);
    }
    Ok(None)
}

fn ask(
    socket: &UdpSocket,
    exchange: Exchange,
    question: &[u8],
    patience: Duration,
) -> Option<Answer> {
    let until = Instant::now() + patience;
    // A network that is not up yet refuses; the next try comes soon enough.
    let sent = socket.send_to(question, (Ipv4Addr::BROADCAST, dhcp::SERVER_PORT));
    if sent.is_err() {
        thread::sleep(LOOKED_FOR_EVERY);
        return None;
    }
    let mut bytes = [0; dhcp::MESSAGE_BYTES_MAX];
    loop {
        let left = until.checked_duration_since(Instant::now())?;
        let left = left.max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).ok()?;
        let (read, _) = socket.recv_from(&mut bytes).ok()?;
        let answer = bytes.get(..read).and_then(|bytes| exchange.answer(bytes));
        if answer.is_some() {
            return answer;
        }
    }
}

/// Sends one message of rtnetlink, and waits for its result.
fn tell(what: &[u8]) -> io::Result<()> {
    // The protocol 0 is that of routes and interfaces.
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&socket, what, SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (read, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer.get(..read).and_then(message::result) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
