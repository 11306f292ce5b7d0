//! Messages of rtnetlink: an interface goes up, gets an address and a route.

use std::net::Ipv4Addr;

const HEADER_BYTES: usize = 16;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
/// This is a request, whose result is wanted.
const REQUEST: u16 = 1 | 4;
/// What is there already is replaced.
const REPLACE: u16 = 0x100 | 0x400;
const IPV4: u8 = 2;
const IS_UP: u32 = 1;
const TABLE_MAIN: u8 = 254;
const BY_BOOT: u8 = 3;
const UNICAST: u8 = 1;

/// Attributes of addresses and routes.
mod attribute {
    pub const ADDRESS: u16 = 1;
    pub const LOCAL: u16 = 2;
    pub const BROADCAST: u16 = 4;
    pub const OUTPUT: u16 = 4;
    pub const GATEWAY: u16 = 5;
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub interface: u32,
    pub address: Ipv4Addr,
    pub prefix: u8,
}

/// Returns a message that sets an interface up.
pub fn set_up(interface: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend(IS_UP.to_ne_bytes());
    body.extend(IS_UP.to_ne_bytes());
    message(NEW_LINK, REQUEST, &body)
}

/// Returns a message that adds an address.
pub fn add(address: Address) -> Vec<u8> {
    message(NEW_ADDRESS, REQUEST | REPLACE, &body(address))
}

/// Returns a message that removes an address.
pub fn remove(address: Address) -> Vec<u8> {
    message(DELETE_ADDRESS, REQUEST, &body(address))
}

fn body(of: Address) -> Vec<u8> {
    let mut body = vec![IPV4, of.prefix, 0, 0];
    body.extend(of.interface.to_ne_bytes());
    let local = of.address.octets();
    attach(&mut body, attribute::LOCAL, local);
    attach(&mut body, attribute::ADDRESS, local);
    let hosts = u32::MAX.checked_shr(u32::from(of.prefix)).unwrap_or(0);
    let broadcast = Ipv4Addr::from(u32::from(of.address) | hosts);
    attach(&mut body, attribute::BROADCAST, broadcast.octets());
    body
}

/// Returns a message that makes `gateway` the way to all other networks.
pub fn route_by(interface: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![IPV4, 0, 0, 0, TABLE_MAIN, BY_BOOT, 0, UNICAST];
    body.extend([0; 4]);
    attach(&mut body, attribute::GATEWAY, gateway.octets());
    attach(&mut body, attribute::OUTPUT, interface.to_ne_bytes());
    message(NEW_ROUTE, REQUEST | REPLACE, &body)
}

fn attach(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Returns the error number in the kernel's answer; 0 if what was asked for is done.
pub fn result(answer: &[u8]) -> Option<i32> {
    let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4)?;
    Some(-i32::from_ne_bytes(code.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_length_that_they_name() {
        let address = Address {
            interface: 2,
            address: [192, 168, 7, 9].into(),
            prefix: 24,
        };
        let gateway = [192, 168, 7, 1].into();
        for (message, bytes) in [
            (set_up(2), 32),
            (add(address), 48),
            (remove(address), 48),
            (route_by(2, gateway), 44),
        ] {
            assert_eq!(message.len(), bytes);
            assert_eq!(message[..4], (bytes as u32).to_ne_bytes());
        }
        assert!(add(address).ends_with(&[192, 168, 7, 255]));
        let whole = Address {
            prefix: 32,
            ..address
        };
        assert!(add(whole).ends_with(&[192, 168, 7, 9]));
    }

    #[test]
    fn the_kernel_s_answer_has_an_error_number() {
        let mut answer = message(2, 0, &(-17i32).to_ne_bytes());
        assert_eq!(result(&answer), Some(17));
        answer.truncate(18);
        assert_eq!(result(&answer), None);
    }
}
