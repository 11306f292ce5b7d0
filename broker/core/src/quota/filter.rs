//! The filter of DescribeClientQuotas (`ClientQuotasImage.describe`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use super::entity::{Entity, Invalid, canonical_ip};

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

/// Entities that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    components: Vec<(&'static str, Wanted)>,
    /// Whether an entity must have only the parts that the filter names.
    is_strict: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Named(String),
    Default,
    Any,
}

impl Filter {
    /// Reads a filter from triples of entity type, match type and name.
    ///
    /// # Errors
    /// INVALID_REQUEST, and UNSUPPORTED_VERSION for an unknown type of entity.
    pub fn parse<'a>(
        components: impl IntoIterator<Item = (&'a str, i8, Option<&'a str>)>,
        is_strict: bool,
    ) -> Result<Self, Invalid> {
        let mut read: Vec<(&'static str, Wanted)> = Vec::new();
        for (kind, match_type, name) in components {
            if kind.is_empty() {
                return Err(Invalid::request("Invalid empty entity type."));
            }
            if read.iter().any(|(other, _)| *other == kind) {
                return Err(Invalid::request(format!(
                    "Entity type {kind} cannot appear more than once in the filter."
                )));
            }
            let known = ["user", "client-id", "ip"].into_iter();
            let Some(kind) = known.into_iter().find(|known| *known == kind) else {
                return Err(Invalid {
                    code: ErrorCode::UnsupportedVersion,
                    message: format!("Unsupported entity type {kind}"),
                });
            };
            read.push((kind, wanted(kind, match_type, name)?));
        }
        let has = |kind: &str| read.iter().any(|(of, _)| *of == kind);
        if has("ip") && (has("user") || has("client-id")) {
            return Err(Invalid::request(
                "Invalid entity filter component combination. IP filter component should not be \
                 used with user or clientId filter component.",
            ));
        }
        Ok(Self {
            components: read,
            is_strict,
        })
    }

    #[must_use]
    pub fn matches(&self, entity: &Entity) -> bool {
        let is_there = |(kind, wanted): &(&str, Wanted)| {
            let mut parts = entity.parts();
            let part = parts.find(|(of, _)| of == kind);
            part.is_some_and(|(_, name)| match wanted {
                Wanted::Named(wanted) => name == Some(wanted),
                Wanted::Default => name.is_none(),
                Wanted::Any => true,
            })
        };
        let is_whole = !self.is_strict || entity.parts().count() == self.components.len();
        is_whole && self.components.iter().all(is_there)
    }
}

fn wanted(kind: &str, match_type: i8, name: Option<&str>) -> Result<Wanted, Invalid> {
    match (match_type, name) {
        (EXACT, Some(name)) if kind == "ip" => {
            Ok(Wanted::Named(canonical_ip(name).unwrap_or(name.into())))
        }
        (EXACT, Some(name)) => Ok(Wanted::Named(name.into())),
        (EXACT, None) => Err(Invalid::request(
            "Request specified MATCH_TYPE_EXACT, but set match string to null.",
        )),
        (DEFAULT, None) => Ok(Wanted::Default),
        (SPECIFIED, None) => Ok(Wanted::Any),
        (DEFAULT, Some(_)) => Err(Invalid::request(
            "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
        )),
        (SPECIFIED, Some(_)) => Err(Invalid::request(
            "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
        )),
        (unknown, _) => Err(Invalid::request(format!("Unknown match type {unknown}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Component<'a> = (&'a str, i8, Option<&'a str>);

    #[test]
    fn a_filter_has_each_part_named_default_or_any() {
        let parse = |parts: &[(&'static str, Option<&'static str>)]| {
            Entity::parse(parts.iter().copied()).unwrap()
        };
        let all = [
            parse(&[("user", Some("u"))]),
            parse(&[("user", None)]),
            parse(&[("user", Some("u")), ("client-id", Some("c"))]),
            parse(&[("user", Some("u")), ("client-id", None)]),
            parse(&[("client-id", Some("c"))]),
            parse(&[("ip", Some("10.0.0.1"))]),
        ];
        let check = |components: &[Component<'_>], is_strict, expected: &[usize]| {
            let filter = Filter::parse(components.iter().copied(), is_strict).unwrap();
            let matching = (0..all.len()).filter(|at| filter.matches(&all[*at]));
            assert_eq!(
                matching.collect::<Vec<_>>(),
                expected,
                "{components:?} {is_strict}"
            );
        };
        check(&[], false, &[0, 1, 2, 3, 4, 5]);
        check(&[], true, &[]);
        let user = ("user", EXACT, Some("u"));
        check(&[user], false, &[0, 2, 3]);
        check(&[user], true, &[0]);
        check(&[("user", DEFAULT, None)], false, &[1]);
        check(&[("user", SPECIFIED, None)], false, &[0, 1, 2, 3]);
        check(&[("user", SPECIFIED, None)], true, &[0, 1]);
        check(&[user, ("client-id", SPECIFIED, None)], true, &[2, 3]);
        check(&[user, ("client-id", DEFAULT, None)], false, &[3]);
        check(&[("client-id", EXACT, Some("c"))], false, &[2, 4]);
        check(&[("ip", EXACT, Some("::ffff:10.0.0.1"))], true, &[5]);
        check(&[("ip", EXACT, Some("no-address"))], true, &[]);
    }

    #[test]
    fn a_wrong_filter_is_refused_in_kafka_s_words() {
        let check = |components: &[Component<'_>], code: ErrorCode, message: &str| {
            let refused = Filter::parse(components.iter().copied(), false).unwrap_err();
            assert_eq!((refused.code, &*refused.message), (code, message));
        };
        let invalid = ErrorCode::InvalidRequest;
        check(&[("", EXACT, None)], invalid, "Invalid empty entity type.");
        let user = ("user", EXACT, Some("u"));
        let twice = "Entity type user cannot appear more than once in the filter.";
        check(&[user, user], invalid, twice);
        let unknown = "Unsupported entity type group";
        check(
            &[("group", EXACT, None)],
            ErrorCode::UnsupportedVersion,
            unknown,
        );
        let null = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
        check(&[("user", EXACT, None)], invalid, null);
        let named = "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.";
        check(&[("user", DEFAULT, Some("u"))], invalid, named);
        let named = "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.";
        check(&[("user", SPECIFIED, Some("u"))], invalid, named);
        check(&[("user", 3, None)], invalid, "Unknown match type 3");
        let both = "Invalid entity filter component combination. IP filter component should not \
                    be used with user or clientId filter component.";
        check(&[user, ("ip", DEFAULT, None)], invalid, both);
    }
}
