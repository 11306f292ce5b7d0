//! Access rules over real sockets: each API times what a client is allowed, denied, and not told
//! of. `SEDGE_TEST_BROKER=kafka` shows that the answers are Apache Kafka's.
//!
//! No client has a name here: two are told apart by their addresses. One is the administrator's,
//! and (with Apache Kafka) the broker's own; rules are made for the other.

use std::net::Ipv4Addr;

use sedge_tests::broker::Broker;
use sedge_tests::wire::Connection;

#[path = "acls/admin.rs"]
mod admin;
#[path = "acls/asks.rs"]
mod asks;
#[path = "acls/lifecycle.rs"]
mod lifecycle;
#[path = "acls/matrix.rs"]
mod matrix;

/// Of the client whose rights are tested.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Settings under which rules are in force, and those of the administrator can be made.
const SETTINGS: &[(&str, &str)] = &[
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("allow.everyone.if.no.acl.found", "true"),
    ("auto.create.topics.enable", "true"),
];

/// A broker where the administrator may do everything, and the client nothing.
struct Tested {
    broker: Broker,
    admin: Connection,
    client: Connection,
}

impl Tested {
    fn start(name: &str) -> Self {
        let broker = Broker::start(name, SETTINGS);
        let address = broker.bootstrap();
        let mut admin = Connection::open(&address);
        admin::allow_the_administrator(&mut admin);
        let client = Connection::from_host(HOST, &address);
        Self {
            broker,
            admin,
            client,
        }
    }
}
