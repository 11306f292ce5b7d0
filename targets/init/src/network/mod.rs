//! Messages of the network: DHCP, and what the kernel is told about interfaces.

pub mod dhcp;
pub mod netlink;
