//! What the members subscribe to: topics by name and by regular expression, and the group epochs
//! that begin when these change.
//!
//! Source: Kafka's `maybeUpdateRegularExpressions`, `updateSubscriptionMetadata`,
//! `TopicRegexResolver`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use regex_lite::{Regex, RegexBuilder};
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;
use xxhash_rust::xxh3::xxh3_64;

use super::context::Context;
use super::group::{ConsumerGroup, Resolved};
use super::member::Member;
use super::messages::Refused;
use super::records::Part;
use crate::groups::assign::TopicId;
use crate::groups::limits;
use crate::metadata::Image;

/// Compiles an expression, which must match a topic's whole name.
///
/// # Errors
/// `INVALID_REGULAR_EXPRESSION`: the expression is not one, or too large.
pub fn compile(regex: &str) -> Result<Regex, Refused> {
    let refused = |why: String| {
        let why =
            format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {why}");
        Refused::new(ErrorCode::InvalidRegularExpression, why)
    };
    if regex.len() > limits::REGEX_BYTES_MAX {
        return Err(Refused::new(
            ErrorCode::InvalidRegularExpression,
            format!(
                "SubscribedTopicRegex has more than {} bytes.",
                limits::REGEX_BYTES_MAX
            ),
        ));
    }
    // Alone first: `)|(` must not become one by what is put around it.
    let build = |text: &str| {
        let built = RegexBuilder::new(text)
            .size_limit(limits::REGEX_SIZE_MAX)
            .build();
        built.map_err(|error| refused(format!("{error}.")))
    };
    build(regex)?;
    build(&format!("^(?:{regex})$"))
}

impl ConsumerGroup {
    /// Resolves the regular expressions of all members, if there is a new one, or the topics have
    /// changed, or it was long ago. Returns whether the topics of any are others.
    pub(super) fn resolve_regexes(
        &mut self,
        context: Context<'_>,
        persist: &mut Vec<CoordinatorRecord>,
    ) -> bool {
        let Some(may_describe) = context.may_describe else {
            return false;
        };
        let members = self.members.values();
        let regexes: BTreeSet<String> = members.filter_map(|member| member.regex.clone()).collect();
        if regexes.is_empty() || !self.is_due(context, &regexes) {
            return false;
        }
        self.resolved_at = Some(context.now.monotonic_ms);
        self.seen_by_regexes = context.topics_number;
        let mut compiled: BTreeMap<String, (Regex, BTreeSet<String>)> = BTreeMap::new();
        for text in regexes {
            // Only another broker's record can have an expression that does not compile.
            if let Ok(regex) = compile(&text) {
                compiled.insert(text, (regex, BTreeSet::new()));
            }
        }
        // The broker's own topics are for who names them, as for Kafka's consumers by default.
        for topic in context.image.topics().filter(|topic| !topic.is_internal) {
            let mut is_allowed = None;
            for (regex, topics) in compiled.values_mut() {
                if regex.is_match(&topic.name)
                    && *is_allowed.get_or_insert_with(|| may_describe(&topic.name))
                {
                    topics.insert(topic.name.clone());
                }
            }
        }
        let mut has_changed = false;
        for (text, (_, topics)) in compiled {
            let before = self.regexes.get(&text);
            if before.is_some_and(|before| before.topics == topics) {
                continue;
            }
            has_changed |= before.is_some() || !topics.is_empty();
            let at_ms = context.now.wall_ms;
            self.regexes
                .insert(text.clone(), Resolved { topics, at_ms });
            persist.push(self.record(Part::Regex(text)));
        }
        has_changed
    }

    fn is_due(&self, context: Context<'_>, regexes: &BTreeSet<String>) -> bool {
        if regexes
            .iter()
            .any(|regex| !self.regexes.contains_key(regex))
        {
            return true;
        }
        let Some(resolved_at) = self.resolved_at else {
            return true;
        };
        let age_ms = context.now.monotonic_ms.saturating_sub(resolved_at);
        let sees_others = self.seen_by_regexes != context.topics_number;
        sees_others && age_ms >= limits::REGEX_REFRESH_MS_MIN
            || age_ms >= context.config.regex_refresh_interval_ms
    }

    /// Forgets expressions to which no member subscribes any more.
    pub(super) fn forget_regexes(
        &mut self,
        former: &[String],
        persist: &mut Vec<CoordinatorRecord>,
    ) {
        for text in former {
            let mut members = self.members.values();
            let is_used = members.any(|member| member.regex.as_ref() == Some(text));
            if !is_used && self.regexes.remove(text).is_some() {
                persist.push(self.record(Part::Regex(text.clone())));
            }
        }
    }

    /// Begins the next group epoch if `bumps`, or if topics to which members subscribe were
    /// created, deleted or have grown.
    pub(super) fn advance(
        &mut self,
        context: Context<'_>,
        bumps: bool,
        persist: &mut Vec<CoordinatorRecord>,
    ) {
        if !bumps && self.seen_topics == context.topics_number {
            return;
        }
        self.seen_topics = context.topics_number;
        if !bumps && self.hash_of_topics(context.image) == self.topics_hash {
            return;
        }
        self.begin_epoch(context.image, persist);
    }

    /// Begins the next group epoch.
    pub(super) fn begin_epoch(&mut self, image: &Image, persist: &mut Vec<CoordinatorRecord>) {
        self.topics_hash = self.hash_of_topics(image);
        self.epoch = self.epoch.max(self.target_epoch).saturating_add(1);
        persist.push(self.record(Part::Epoch));
    }

    /// Returns a hash of the names, ids and partitions of all topics to which members subscribe; 0
    /// if none of them exists.
    fn hash_of_topics(&self, image: &Image) -> i64 {
        let mut bytes = Vec::new();
        for name in self.subscribed_topics() {
            if let Some(topic) = image.topic(name) {
                bytes.extend_from_slice(&topic.id.to_bytes());
                bytes.extend_from_slice(&topic.partition_count().to_be_bytes());
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(0);
            }
        }
        if bytes.is_empty() {
            return 0;
        }
        xxh3_64(&bytes).cast_signed()
    }

    /// Returns the names of all topics to which members subscribe, also of those that do not exist.
    pub fn subscribed_topics(&self) -> BTreeSet<&str> {
        let members = self.members.values();
        members.flat_map(|member| self.topics_of(member)).collect()
    }

    /// Returns the names of the topics to which a member subscribes; a name may come twice.
    fn topics_of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a str> {
        let regex = member.regex.as_ref();
        let resolved = regex.and_then(|regex| self.regexes.get(regex));
        let matched = resolved.into_iter().flat_map(|resolved| &resolved.topics);
        member.topics.iter().chain(matched).map(String::as_str)
    }

    /// Returns the ids of the existing topics to which a member subscribes, in their order.
    pub(super) fn topic_ids_of(&self, member: &Member, image: &Image) -> Vec<TopicId> {
        let topics = self.topics_of(member).filter_map(|name| image.topic(name));
        let ids: BTreeSet<TopicId> = topics.map(|topic| topic.id.into()).collect();
        ids.into_iter().collect()
    }
}
