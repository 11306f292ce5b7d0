//! Messages of DHCP (RFC 2131, options of RFC 2132), as far as a client of IPv4 needs them.

use std::net::Ipv4Addr;
use std::time::Duration;

pub const CLIENT_PORT: u16 = 68;
pub const SERVER_PORT: u16 = 67;
/// The largest message that is read.
pub const MESSAGE_BYTES_MAX: usize = 1500;
/// Bytes before the options: the fixed part, and the cookie.
const FIXED_BYTES: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Addresses of each kind that are taken from one lease.
const ADDRESSES_MAX: usize = 4;

/// Codes of options.
mod option {
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const NAME_SERVER: u8 = 6;
    pub const TIME_SERVER: u8 = 42;
    pub const ADDRESS: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const END: u8 = 255;
}

/// Codes of the option [`option::KIND`].
mod code {
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
}

/// The identity of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    pub number: u32,
    pub hardware: [u8; 6],
}

/// What a server grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub time_servers: Vec<Ipv4Addr>,
    pub server: Ipv4Addr,
    pub time: Duration,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Offer(Lease),
    Ack(Lease),
    /// The address is not granted: begin again.
    Nak,
}

impl Exchange {
    /// Asks all servers for offers.
    pub fn discover(&self) -> Vec<u8> {
        self.message(Ipv4Addr::UNSPECIFIED, &[(option::KIND, &[code::DISCOVER])])
    }

    /// Asks for what `offer` has.
    pub fn request(&self, offer: &Lease) -> Vec<u8> {
        let options: [(u8, &[u8]); 3] = [
            (option::KIND, &[code::REQUEST]),
            (option::ADDRESS, &offer.address.octets()),
            (option::SERVER, &offer.server.octets()),
        ];
        self.message(Ipv4Addr::UNSPECIFIED, &options)
    }

    /// Asks to keep `lease`.
    pub fn renew(&self, lease: &Lease) -> Vec<u8> {
        self.message(lease.address, &[(option::KIND, &[code::REQUEST])])
    }

    fn message(&self, client: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; FIXED_BYTES];
        // A request, over Ethernet.
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(&self.number.to_be_bytes());
        // Without an address, answers can only be broadcast.
        message[10] = 0x80;
        message[12..16].copy_from_slice(&client.octets());
        message[28..34].copy_from_slice(&self.hardware);
        message[236..].copy_from_slice(&COOKIE);
        let wanted = [
            option::MASK,
            option::ROUTER,
            option::NAME_SERVER,
            option::TIME_SERVER,
            option::LEASE,
        ];
        for (code, value) in options
            .iter()
            .copied()
            .chain([(option::WANTED, &wanted[..])])
        {
            message.extend([code, value.len() as u8]);
            message.extend(value);
        }
        message.push(option::END);
        message
    }

    /// Reads a message. `None` if it does not belong to this exchange, or says nothing useful.
    pub fn answer(&self, message: &[u8]) -> Option<Answer> {
        let fixed = message.get(..FIXED_BYTES)?;
        let is_ours = fixed[0] == 2
            && fixed[4..8] == self.number.to_be_bytes()
            && fixed[28..34] == self.hardware
            && fixed[236..] == COOKIE;
        if !is_ours {
            return None;
        }
        let options = &message[FIXED_BYTES..];
        let kind = find(options, option::KIND)?.first().copied()?;
        if kind == code::NAK {
            return Some(Answer::Nak);
        }
        let first = |code| addresses(options, code).first().copied();
        let mask = first(option::MASK).map_or(u32::MAX << 8, u32::from);
        let seconds = find(options, option::LEASE).and_then(|value| value.try_into().ok());
        let lease = Lease {
            address: Ipv4Addr::from(<[u8; 4]>::try_from(&fixed[16..20]).ok()?),
            prefix: mask.leading_ones() as u8,
            gateway: first(option::ROUTER),
            name_servers: addresses(options, option::NAME_SERVER),
            time_servers: addresses(options, option::TIME_SERVER),
            server: first(option::SERVER)?,
            time: Duration::from_secs(u64::from(seconds.map_or(3600, u32::from_be_bytes).max(60))),
        };
        match kind {
            _ if lease.address.is_unspecified() => None,
            code::OFFER => Some(Answer::Offer(lease)),
            code::ACK => Some(Answer::Ack(lease)),
            _ => None,
        }
    }
}

/// Returns the value of the first option with this code.
fn find(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [option::END, ..] => return None,
            [code, length, rest @ ..] => {
                let value = rest.get(..*length as usize)?;
                if *code == wanted {
                    return Some(value);
                }
                options = &rest[value.len()..];
            }
            _ => return None,
        }
    }
}

fn addresses(options: &[u8], code: u8) -> Vec<Ipv4Addr> {
    let value = find(options, code).unwrap_or_default();
    let (addresses, _) = value.as_chunks::<4>();
    let addresses = addresses.iter().take(ADDRESSES_MAX);
    addresses.map(|octets| Ipv4Addr::from(*octets)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCHANGE: Exchange = Exchange {
        number: 0xABCD,
        hardware: [2, 0, 0, 0, 0, 7],
    };

    fn answered(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut message = EXCHANGE.discover();
        message.truncate(FIXED_BYTES);
        message[0] = 2;
        message[16..20].copy_from_slice(&[10, 0, 2, 15]);
        message.extend([option::KIND, 1, kind]);
        message.extend(options);
        message.push(option::END);
        message
    }

    const GRANTED: [u8; 37] = [
        54, 4, 10, 0, 2, 2, 0, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 8, 10, 0, 2, 3, 10, 0,
        2, 4, 51, 4, 0, 1, 0x51, 0x80, 0, 0,
    ];

    #[test]
    fn a_lease_is_read_from_its_options() {
        let Some(Answer::Ack(lease)) = EXCHANGE.answer(&answered(code::ACK, &GRANTED)) else {
            panic!("no lease");
        };
        assert_eq!((lease.address, lease.prefix), ([10, 0, 2, 15].into(), 24));
        assert_eq!(lease.gateway, Some([10, 0, 2, 2].into()));
        assert_eq!(lease.name_servers.len(), 2);
        assert_eq!(lease.time, Duration::from_hours(24));
        let offer = EXCHANGE.answer(&answered(code::OFFER, &GRANTED));
        assert_eq!(offer, Some(Answer::Offer(lease)));
        let refused = EXCHANGE.answer(&answered(code::NAK, &[]));
        assert_eq!(refused, Some(Answer::Nak));
    }

    #[test]
    fn what_others_are_told_is_not_taken() {
        let message = answered(code::ACK, &GRANTED);
        let other = Exchange {
            number: 1,
            ..EXCHANGE
        };
        assert_eq!(other.answer(&message), None);
        let other = Exchange {
            hardware: [9; 6],
            ..EXCHANGE
        };
        assert_eq!(other.answer(&message), None);
        assert_eq!(EXCHANGE.answer(&EXCHANGE.discover()), None);
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_read_without_harm() {
        let message = answered(code::ACK, &GRANTED);
        for length in 0..message.len() {
            let _ = EXCHANGE.answer(&message[..length]);
        }
        assert_eq!(EXCHANGE.answer(&answered(code::ACK, &[54, 200])), None);
    }

    #[test]
    fn a_request_names_what_was_offered() {
        let Some(Answer::Offer(offer)) = EXCHANGE.answer(&answered(code::OFFER, &GRANTED)) else {
            panic!("no offer");
        };
        let request = EXCHANGE.request(&offer);
        assert_eq!(
            find(&request[FIXED_BYTES..], option::KIND),
            Some(&[code::REQUEST][..])
        );
        assert_eq!(
            find(&request[FIXED_BYTES..], option::ADDRESS),
            Some(&[10, 0, 2, 15][..])
        );
        assert_eq!(EXCHANGE.renew(&offer)[12..16], [10, 0, 2, 15]);
    }
}
