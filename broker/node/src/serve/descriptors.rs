//! File descriptors, which clients can use up by opening connections: the process's limit, and the
//! share for clients.

use log::{info, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::console::limits::CONNECTIONS_MAX as CONSOLE_CONNECTIONS_MAX;
use crate::limits::{CONNECTIONS_PUT_OFF_MAX, PIPES_MAX};

/// File descriptors that are not for clients that are served: those of the store, pipes, the
/// console, connections that are put off, and 64 for streams, listeners, polling, the directory's
/// lock, compilers of plugins and files that are open briefly.
const DESCRIPTORS_OWN: u64 = (sedge_storage::limits::DESCRIPTORS_MAX
    + 2 * PIPES_MAX
    + CONSOLE_CONNECTIONS_MAX
    + CONNECTIONS_PUT_OFF_MAX
    + 64) as u64;

/// File descriptors of one link: connections to the upstream's brokers and, for its cursors, both
/// ends of those to this broker.
const LINK_DESCRIPTORS: u64 = 16;

/// The share of a very low limit that clients get nevertheless.
const CONNECTIONS_SHARE_MIN: u64 = 4;

const _: () = assert!(
    DESCRIPTORS_OWN < 512,
    "with 1024, which is the usual limit, clients get more than half"
);

/// Raises the process's limit as far as it is allowed, and lowers `max.connections` to what is left
/// for clients.
pub fn share_out(config: &mut Config) {
    let limit = raise();
    let wanted = config.max_connections;
    let left = connections_max(limit, config.links.len());
    if left < wanted {
        warn!(
            target: "sedge::net",
            "max.connections is lowered from {wanted} to {left}: the process may open {limit} \
             files and sockets; raise that limit (`ulimit -n`, LimitNOFILE=) to {}",
            needed(wanted, config.links.len())
        );
        config.max_connections = left;
    }
}

/// Raises the limit and returns it.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            let limit = current.unwrap_or(u64::MAX);
            info!(
                target: "sedge::net",
                "the process may open {limit} files and sockets; the limit cannot be raised: \
                 {error}"
            );
            limit
        }
    }
}

/// Returns the number of connections for a process with `limit` descriptors.
fn connections_max(limit: u64, links: usize) -> usize {
    let left = limit.saturating_sub(own(links));
    // With very few descriptors no split is right; running out of them breaks nothing.
    let most = left.max(limit / CONNECTIONS_SHARE_MIN).max(1);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Returns the descriptors needed for this many connections.
fn needed(connections: usize, links: usize) -> u64 {
    connections as u64 + own(links)
}

fn own(links: usize) -> u64 {
    DESCRIPTORS_OWN + links as u64 * LINK_DESCRIPTORS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_broker_does_not_need() {
        let check = |limit, links, expected| {
            assert_eq!(connections_max(limit, links), expected, "{limit}, {links}");
        };
        let own = DESCRIPTORS_OWN as usize;
        check(1024, 0, 1024 - own);
        check(1024, 2, 1024 - own - 2 * LINK_DESCRIPTORS as usize);
        check(u64::MAX, 0, usize::MAX - own);
        check(64, 0, 16);
        check(1, 0, 1);
        assert_eq!(connections_max(needed(5000, 3), 3), 5000);
    }
}
