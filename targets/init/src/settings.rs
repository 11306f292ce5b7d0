//! What a device is told: words of the kernel's command line, and `device.properties` on the FAT
//! partition.

use std::net::Ipv4Addr;

use crate::keys::{self, PublicKey};

/// The key of the public keys that may sign updates.
pub const TRUSTED_KEYS: &str = "update.trusted.keys";
/// The key of the public keys that may not sign updates any more.
pub const REVOKED_KEYS: &str = "update.revoked.keys";

/// The slot that the boot loader chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// Returns the slot that an update is written to while this one runs.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Returns the value of `sedge.NAME=VALUE` on the kernel's command line.
pub fn word<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line.split_whitespace().find_map(|word| {
        word.strip_prefix("sedge.")?
            .strip_prefix(name)?
            .strip_prefix('=')
    })
}

/// Returns the value of a line `KEY=VALUE`; empty if there is none.
pub fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_default()
}

/// Returns the slot of the kernel's command line; A if it has none.
pub fn slot(command_line: &str) -> Slot {
    match word(command_line, "slot") {
        Some("b") => Slot::B,
        _ => Slot::A,
    }
}

/// The settings of `device.properties`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub hostname: Option<String>,
    /// The one interface to use; all that are there if `None`.
    pub interface: Option<String>,
    /// A fixed address; DHCP if `None`.
    pub address: Option<Fixed>,
    /// Time servers, instead of those that DHCP names.
    pub time_servers: Vec<String>,
    /// Whether the log is kept on the data partition too.
    pub log_to_disk: bool,
    /// Keys of updates, besides those of the image.
    pub trusted_keys: Vec<PublicKey>,
    /// Keys whose updates are refused, besides those of the images.
    pub revoked_keys: Vec<PublicKey>,
}

/// A fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
}

impl Settings {
    /// Reads `device.properties`. Returns what is wrong with it too: a wrong line is passed over.
    pub fn read(text: &str) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut wrong = Vec::new();
        let (mut gateway, mut name_servers) = (None, Vec::new());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let (key, value) = (key.trim(), value.trim());
            let read = match key {
                "hostname" => name(value).map(|name| settings.hostname = Some(name)),
                "network.interface" => name(value).map(|name| settings.interface = Some(name)),
                "network.address" => address(value).map(|fixed| settings.address = fixed),
                "network.gateway" => value.parse().ok().map(|address| gateway = Some(address)),
                "network.dns" => list(value).map(|servers| name_servers = servers),
                "ntp.servers" => list(value).map(|servers| settings.time_servers = servers),
                TRUSTED_KEYS => keys::read(value).map(|keys| settings.trusted_keys = keys),
                REVOKED_KEYS => keys::read(value).map(|keys| settings.revoked_keys = keys),
                "log.to.disk" => value.parse().ok().map(|is_on| settings.log_to_disk = is_on),
                _ => {
                    wrong.push(format!(
                        "device.properties:{}: `{key}` is no key; there are hostname, \
                         network.interface, network.address, network.gateway, network.dns, \
                         ntp.servers, log.to.disk, {TRUSTED_KEYS}, {REVOKED_KEYS}",
                        number + 1
                    ));
                    continue;
                }
            };
            if read.is_none() {
                wrong.push(format!(
                    "device.properties:{}: `{value}` is no value of `{key}`; the line is passed \
                     over",
                    number + 1
                ));
            }
        }
        if let Some(fixed) = &mut settings.address {
            (fixed.gateway, fixed.name_servers) = (gateway, name_servers);
        }
        (settings, wrong)
    }
}

/// Reads a name of a host or an interface.
fn name(value: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !value.is_empty() && value.len() <= 63 && value.bytes().all(fits);
    is_name.then(|| value.to_owned())
}

/// Reads `dhcp`, or an address with its prefix.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether the value can be read"
)]
fn address(value: &str) -> Option<Option<Fixed>> {
    if value == "dhcp" {
        return Some(None);
    }
    let (address, prefix) = value.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|bits| (1..=32).contains(bits))?;
    Some(Some(Fixed {
        address: address.parse().ok()?,
        prefix,
        gateway: None,
        name_servers: Vec::new(),
    }))
}

/// Reads values between commas, all or none.
fn list<T: std::str::FromStr>(value: &str) -> Option<Vec<T>> {
    let parts = value.split(',').map(str::trim);
    parts.map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_found_by_their_names() {
        let line = "console=ttyS0 quiet sedge.slot=b sedge.watchdog=60\n";
        assert_eq!(slot(line), Slot::B);
        assert_eq!(word(line, "watchdog"), Some("60"));
        assert_eq!(word(line, "watch"), None);
        assert_eq!(slot("sedge.slot=c"), Slot::A);
    }

    #[test]
    fn a_fixed_address_is_read() {
        let text = "# the shop's network\nhostname = till-7\nnetwork.address=10.1.2.3/24\n\
                    network.gateway=10.1.2.1\nnetwork.dns=10.1.2.1, 10.1.2.2\n\
                    ntp.servers=time.example,10.1.2.1\nlog.to.disk=true\n";
        let (settings, wrong) = Settings::read(text);
        assert_eq!(wrong, [""; 0]);
        let fixed = settings.address.unwrap();
        assert_eq!((fixed.address, fixed.prefix), ([10, 1, 2, 3].into(), 24));
        assert_eq!(fixed.gateway, Some([10, 1, 2, 1].into()));
        assert_eq!(fixed.name_servers.len(), 2);
        assert_eq!(settings.hostname.as_deref(), Some("till-7"));
        assert_eq!(settings.time_servers, ["time.example", "10.1.2.1"]);
        assert!(settings.log_to_disk);
    }

    #[test]
    fn a_value_is_that_of_its_line() {
        let text = "board=x\nboard.b=y\nbuilt=1=2\n";
        assert_eq!((value(text, "board"), value(text, "built")), ("x", "1=2"));
        assert_eq!(value(text, "boar"), "");
    }

    #[test]
    fn keys_of_updates_are_read() {
        let key = "MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";
        let text = format!("update.trusted.keys={key}, {key}\nupdate.revoked.keys={key}\n");
        let (settings, wrong) = Settings::read(&text);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(settings.trusted_keys.len(), 2);
        assert_eq!(settings.revoked_keys.len(), 1);
    }

    #[test]
    fn a_wrong_line_is_named_and_passed_over() {
        let check = |text: &str, part: &str| {
            let (settings, wrong) = Settings::read(text);
            assert_eq!(settings, Settings::default(), "{text}");
            assert!(wrong.len() == 1 && wrong[0].contains(part), "{wrong:?}");
        };
        check("network.address=10.1.2.3", ":1: `10.1.2.3` is no value of");
        check("\n\nnetwork.address=10.1.2.3/33", ":3: ");
        check("hostname=a b", "`a b` is no value");
        check("wifi=on", "`wifi` is no key; there are hostname,");
        check("nonsense", "`nonsense` is no key");
        let (settings, wrong) = Settings::read("network.address=dhcp\r\n");
        assert_eq!((settings, wrong.len()), (Settings::default(), 0));
    }
}
