//! Filters for access rules, as in requests to describe or delete them (`AclBindingFilter`).

use alloc::string::String;

use super::acl::{AclBinding, Host, PatternType, Permission, WILDCARD};
use super::{Operation, Resource};

/// How the name of a filter is compared with the name of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFilter {
    /// The names are equal; the pattern type of the rule does not matter.
    Any,
    /// The rule applies to a resource with the filter's name.
    Match,
    /// The names are equal, and the rule has this pattern type.
    Exactly(PatternType),
}

/// A filter. A rule matches if every field that is `Some` matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclFilter {
    pub resource: Option<Resource>,
    pub pattern: PatternFilter,
    pub name: Option<String>,
    pub principal: Option<String>,
    pub host: Option<Host>,
    pub operation: Option<Operation>,
    pub permission: Option<Permission>,
}

impl AclFilter {
    #[must_use]
    pub fn matches(&self, rule: &AclBinding) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        is(self.resource.as_ref(), &rule.resource)
            && self.matches_name(rule)
            && self
                .principal
                .as_deref()
                .is_none_or(|wanted| wanted == &*rule.principal)
            && is(self.host.as_ref(), &rule.host)
            && is(self.operation.as_ref(), &rule.operation)
            && is(self.permission.as_ref(), &rule.permission)
    }

    // ResourcePatternFilter.matches
    fn matches_name(&self, rule: &AclBinding) -> bool {
        if let PatternFilter::Exactly(pattern) = self.pattern
            && pattern != rule.pattern
        {
            return false;
        }
        let Some(wanted) = self.name.as_deref() else {
            return true;
        };
        let name = &*rule.name;
        match (self.pattern, rule.pattern) {
            (PatternFilter::Any | PatternFilter::Exactly(_), _) => wanted == name,
            (PatternFilter::Match, PatternType::Literal) => wanted == name || name == WILDCARD,
            (PatternFilter::Match, PatternType::Prefixed) => wanted.starts_with(name),
        }
    }
}
