//! The entities that quotas are set for, and the keys of quotas.

use alloc::borrow::Borrow;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use core::net::IpAddr;

use sedge_protocol::ErrorCode;

const USER: &str = "user";
const CLIENT: &str = "client-id";
const IP: &str = "ip";

/// The name of a user, a client or an address, or the default for those without a quota of their
/// own. The default is stored as the empty name, which no user, client or address has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The name of the default.
    pub(super) const DEFAULT: &str = "";

    #[must_use]
    pub fn new(name: Option<&str>) -> Self {
        Self(name.unwrap_or(Self::DEFAULT).into())
    }

    /// Returns the name; `None` for the default.
    #[must_use]
    pub fn given(&self) -> Option<&str> {
        Some(&*self.0).filter(|name| *name != Self::DEFAULT)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The users, clients or addresses that a quota is set for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    User(Name),
    Client(Name),
    /// A client of a user.
    UserClient(Name, Name),
    /// An address in its canonical form.
    Ip(Name),
}

/// The refusal of a part of a request, with Kafka's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub code: ErrorCode,
    pub message: String,
}

impl Invalid {
    pub(super) fn request(message: impl Into<String>) -> Self {
        let (code, message) = (ErrorCode::InvalidRequest, message.into());
        Self { code, message }
    }
}

impl Entity {
    /// Reads an entity from pairs of type and name (`ClientQuotaControlManager.validateEntity`).
    ///
    /// # Errors
    /// INVALID_REQUEST.
    pub fn parse<'a>(
        parts: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Self, Invalid> {
        let (mut user, mut client, mut ip) = (None, None, None);
        for (kind, name) in parts {
            let place = match kind {
                USER => &mut user,
                CLIENT => &mut client,
                IP => &mut ip,
                _ => {
                    let message = format!("Unhandled client quota entity type: {kind}");
                    return Err(Invalid::request(message));
                }
            };
            if name == Some("") {
                return Err(Invalid::request(format!("Empty {kind} not supported")));
            }
            if place.replace(Name::new(name)).is_some() {
                return Err(Invalid::request(format!(
                    "Invalid client quota entity, duplicate entity entry {kind}"
                )));
            }
        }
        Ok(match (user, client, ip) {
            (Some(user), Some(client), None) => Self::UserClient(user, client),
            (Some(user), None, None) => Self::User(user),
            (None, Some(client), None) => Self::Client(client),
            (None, None, Some(ip)) => Self::Ip(canonical(&ip)?),
            (None, None, None) => {
                return Err(Invalid::request("Invalid empty client quota entity"));
            }
            (_, _, Some(_)) => {
                return Err(Invalid::request(
                    "Invalid quota entity combination, IP entity shouldnot be combined with User \
                     or ClientId",
                ));
            }
        })
    }

    /// Returns pairs of type and name; `None` is the default.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        let (first, second) = match self {
            Self::User(user) => ((USER, user), None),
            Self::Client(client) => ((CLIENT, client), None),
            Self::UserClient(user, client) => ((USER, user), Some((CLIENT, client))),
            Self::Ip(ip) => ((IP, ip), None),
        };
        let parts = core::iter::once(first).chain(second);
        parts.map(|(kind, name)| (kind, name.given()))
    }

    /// Returns the length of the entity's names in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::User(name) | Self::Client(name) | Self::Ip(name) => name.bytes(),
            Self::UserClient(user, client) => user.bytes() + client.bytes(),
        }
    }

    /// Checks that the entity may have this quota (`validateQuotaKeyValue`).
    ///
    /// # Errors
    /// INVALID_REQUEST.
    pub fn check(&self, name: &str, value: f64) -> Result<Key, Invalid> {
        let key = Key::parse(name).filter(|key| key.is_for(self));
        let Some(key) = key else {
            let message = format!("Invalid configuration key {name}");
            return Err(Invalid::request(message));
        };
        if value <= 0.0 {
            let message = format!("Quota {name} must be greater than 0");
            return Err(Invalid::request(message));
        }
        // Kafka accepts NaN, a quota that never throttles anything.
        if value.is_nan() {
            let message = format!("Quota {name} must be a number");
            return Err(Invalid::request(message));
        }
        let (kind, largest) = match key {
            Key::ProducerByteRate | Key::ConsumerByteRate => ("a LONG", i64::MAX as f64),
            Key::ConnectionCreationRate => ("an INT", f64::from(i32::MAX)),
            Key::RequestPercentage | Key::ControllerMutationRate => return Ok(key),
        };
        if value > largest {
            let message = format!("Proposed value for {name} is too large for {kind}.");
            return Err(Invalid::request(message));
        }
        if value % 1.0 > 1e-6 {
            let message = format!("{name} cannot be a fractional value.");
            return Err(Invalid::request(message));
        }
        Ok(key)
    }
}

/// Unlike Kafka, accepts no host names: Kafka resolves them at each start.
fn canonical(ip: &Name) -> Result<Name, Invalid> {
    let Some(text) = ip.given() else {
        return Ok(ip.clone());
    };
    match canonical_ip(text) {
        Some(ip) => Ok(Name::new(Some(&ip))),
        None => Err(Invalid::request(format!(
            "{text} is not a valid IP or resolvable host."
        ))),
    }
}

/// Returns the canonical form of an address, which is the key of its quotas.
pub(super) fn canonical_ip(text: &str) -> Option<String> {
    let ip: IpAddr = text.parse().ok()?;
    Some(ip.to_canonical().to_string())
}

/// The key of a quota: the use that it limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    ProducerByteRate,
    ConsumerByteRate,
    RequestPercentage,
    ControllerMutationRate,
    ConnectionCreationRate,
}

impl Key {
    pub const ALL: [Self; 5] = [
        Self::ProducerByteRate,
        Self::ConsumerByteRate,
        Self::RequestPercentage,
        Self::ControllerMutationRate,
        Self::ConnectionCreationRate,
    ];

    /// Returns Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProducerByteRate => "producer_byte_rate",
            Self::ConsumerByteRate => "consumer_byte_rate",
            Self::RequestPercentage => "request_percentage",
            Self::ControllerMutationRate => "controller_mutation_rate",
            Self::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    fn is_for(self, entity: &Entity) -> bool {
        matches!(entity, Entity::Ip(_)) == (self == Self::ConnectionCreationRate)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn an_entity_is_a_user_a_client_both_or_an_address() {
        let named = |name: &str| Name::new(Some(name));
        let check = |parts: &[(&str, Option<&str>)], expected: Result<Entity, &str>| {
            let parsed = Entity::parse(parts.iter().copied());
            if let Ok(entity) = &parsed
                && !matches!(entity, Entity::Ip(_))
            {
                let again: alloc::vec::Vec<_> = entity.parts().collect();
                assert_eq!(again, parts);
            }
            let parsed = parsed.map_err(|invalid| {
                assert_eq!(invalid.code, ErrorCode::InvalidRequest);
                invalid.message
            });
            assert_eq!(parsed, expected.map_err(ToString::to_string), "{parts:?}");
        };
        let (user, client) = (("user", Some("u")), ("client-id", Some("c")));
        check(&[user], Ok(Entity::User(named("u"))));
        check(&[client], Ok(Entity::Client(named("c"))));
        check(
            &[user, client],
            Ok(Entity::UserClient(named("u"), named("c"))),
        );
        check(&[("user", None)], Ok(Entity::User(Name::new(None))));
        let local = Ok(Entity::Ip(named("::1")));
        check(&[("ip", Some("0:0:0:0:0:0:0:1"))], local);
        let mapped = Ok(Entity::Ip(named("10.0.0.1")));
        check(&[("ip", Some("::ffff:10.0.0.1"))], mapped);
        check(&[("ip", None)], Ok(Entity::Ip(Name::new(None))));
        check(&[], Err("Invalid empty client quota entity"));
        check(&[("user", Some(""))], Err("Empty user not supported"));
        let bad = "no-address is not a valid IP or resolvable host.";
        check(&[("ip", Some("no-address"))], Err(bad));
        let unknown = "Unhandled client quota entity type: group";
        check(&[("group", Some("g"))], Err(unknown));
        let both = "Invalid quota entity combination, IP entity shouldnot be combined with User or \
                    ClientId";
        check(&[user, ("ip", None)], Err(both));
        let twice = "Invalid client quota entity, duplicate entity entry user";
        check(&[user, user], Err(twice));
    }

    #[test]
    fn a_quota_has_a_key_of_its_entity_and_a_value_that_can_be() {
        let user = Entity::User(Name::new(Some("u")));
        let ip = Entity::Ip(Name::new(None));
        let check = |entity: &Entity, key: &str, value: f64, expected: &str| {
            let checked = entity.check(key, value);
            let message = checked.map_or_else(|invalid| invalid.message, |_| String::new());
            assert_eq!(message, expected, "{key}={value}");
        };
        for key in Key::ALL {
            let name = key.name();
            let (right, wrong) = match key {
                Key::ConnectionCreationRate => (&ip, &user),
                _ => (&user, &ip),
            };
            check(right, name, 5.0, "");
            check(
                wrong,
                name,
                5.0,
                &format!("Invalid configuration key {name}"),
            );
            let positive = format!("Quota {name} must be greater than 0");
            check(right, name, 0.0, &positive);
            check(right, name, -1.0, &positive);
            assert!(right.check(name, f64::NAN).is_err());
        }
        check(&user, "request_percentage", 0.5, "");
        check(&user, "controller_mutation_rate", 1.5, "");
        let fraction = "producer_byte_rate cannot be a fractional value.";
        check(&user, "producer_byte_rate", 1.5, fraction);
        let large = "Proposed value for consumer_byte_rate is too large for a LONG.";
        check(&user, "consumer_byte_rate", 1e19, large);
        let large = "Proposed value for connection_creation_rate is too large for an INT.";
        check(&ip, "connection_creation_rate", 2_147_483_648.0, large);
        check(
            &user,
            "byte_rate",
            1.0,
            "Invalid configuration key byte_rate",
        );
    }
}
