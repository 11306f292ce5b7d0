//! Access rules over real sockets: each API with no rules, with allowing rules, and with a denying
//! rule. `SEDGE_TEST_BROKER=kafka` shows that the responses are Apache Kafka's.
//!
//! The clients do not authenticate; two are distinguished by their addresses. One address is that
//! of the administrator, and of the broker itself (Apache Kafka). The tests create rules for the
//! other.

use std::net::Ipv4Addr;

use sedge_tests::broker::Broker;
use sedge_tests::wire::Connection;

#[path = "acls/admin.rs"]
mod admin;
#[path = "acls/asks.rs"]
mod asks;
#[path = "acls/cluster.rs"]
mod cluster;
#[path = "acls/lifecycle.rs"]
mod lifecycle;
#[path = "acls/matrix.rs"]
mod matrix;
#[path = "acls/transactions.rs"]
mod transactions;

/// The address of the client whose rights are tested.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Settings that enforce rules, and let the administrator create the first ones.
const SETTINGS: &[(&str, &str)] = &[
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("allow.everyone.if.no.acl.found", "true"),
    ("auto.create.topics.enable", "true"),
];

/// A broker on which the administrator may do everything, and the client nothing.
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
