//! Reports what a link holds: once in the log, and through the console, the metrics and
//! `sedge mirror describe`.

use std::collections::BTreeMap;

use sedge_core::mirror::{Hold, Side, Trouble};
use sedge_protocol::ErrorCode;

use crate::metrics::Holds;

use super::limits;
use super::link::{Destination, Link};

impl Link {
    /// Updates state and metrics, and logs new holds.
    pub(super) fn report_holds(&mut self) {
        let name = &self.config.name;
        let partitions: BTreeMap<String, String> = self
            .plan
            .holds()
            .take(limits::HELD_SHOWN_MAX)
            .filter_map(|(id, hold)| {
                let to = self.destinations.get(&id)?;
                Some((format!("{}-{}", to.topic, to.index), reason(name, to, hold)))
            })
            .collect();
        let is_long = |since: std::time::Instant| since.elapsed() >= self.config.held_after;
        let stuck = self
            .waiting
            .iter()
            .filter(|(_, waiting)| !waiting.is_meant)
            .filter(|(_, waiting)| waiting.is_refused || is_long(waiting.since));
        let topics: BTreeMap<String, String> = stuck
            .clone()
            .take(limits::HELD_SHOWN_MAX)
            .map(|(topic, waiting)| (topic.clone(), format!("not copied: {}", waiting.why)))
            .collect();
        let held = self.plan.holds().count() + stuck.count();
        self.metrics.held.set(held as i64);
        self.metrics.set_holds(Holds {
            partitions: partitions.clone().into_iter().collect(),
            topics: self.not_begun(),
            notes: self.unkept.clone().into_iter().collect(),
        });
        let mut holds = partitions;
        holds.extend(topics);
        self.log_holds(&holds);
        self.told = holds;
    }

    /// Logs an error of the upstream, once until the upstream answers.
    pub(super) fn tell_error(&mut self, why: &str) {
        let name = &self.config.name;
        let told = &mut self.told_errors;
        if told.len() < limits::ERRORS_TOLD_MAX && told.iter().all(|before| before != why) {
            told.push(why.to_owned());
            log::warn!(target: "sedge::mirror", "{name}: the upstream fails: {why}; retrying");
        } else {
            log::debug!(target: "sedge::mirror", "{name}: {why}; retrying");
        }
    }

    fn log_holds(&self, holds: &BTreeMap<String, String>) {
        let name = &self.config.name;
        let is_new = |(what, why): &(&String, &String)| self.told.get(*what) != Some(why);
        for (what, why) in holds.iter().filter(is_new).take(limits::HELD_LOGGED_MAX) {
            log::warn!(target: "sedge::mirror", "{name}: {what} is held {why}");
        }
        let new = holds.iter().filter(is_new).count();
        if new > limits::HELD_LOGGED_MAX {
            let more = new - limits::HELD_LOGGED_MAX;
            log::warn!(
                target: "sedge::mirror",
                "{name}: {more} more are held; `sedge mirror describe {name}` shows them"
            );
        }
        let released = self.told.keys().filter(|what| !holds.contains_key(*what));
        for what in released.take(limits::HELD_LOGGED_MAX) {
            log::info!(target: "sedge::mirror", "{name}: {what} is no longer held");
        }
    }

    /// Returns selected topics of which no partition has an upstream twin.
    fn not_begun(&self) -> Vec<(String, String)> {
        let image = self.local.log.metadata.load();
        let not_begun = image.topics().filter(|topic| {
            !topic.is_internal
                && self.config.selection.takes(&topic.name)
                && !topic.partitions().any(|id| self.plan.has(id))
        });
        let why = |topic: &str| {
            let waiting = self.waiting.get(topic).map(|waiting| waiting.why.clone());
            waiting.unwrap_or_else(|| "the upstream has not answered yet".to_owned())
        };
        not_begun
            .take(limits::HELD_SHOWN_MAX)
            .map(|topic| (topic.name.clone(), why(&topic.name)))
            .collect()
    }
}

/// Says what is wrong, and what to do.
fn reason(link: &str, to: &Destination, hold: Hold) -> String {
    let Hold { trouble, at, next } = hold;
    let (topic, index) = (&to.topic, to.index);
    let skip = |offset: &str| format!("sedge mirror skip {link} {topic}:{index} --to {offset}");
    let past = skip(&next.map_or_else(|| "OFFSET".to_owned(), |next| next.to_string()));
    let advice = match trouble {
        Trouble::Refused(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge) => {
            format!("raise max.message.bytes of the topic upstream, or skip the batch: `{past}`")
        }
        Trouble::Refused(
            ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed,
        ) => "allow the link to write to the topic upstream".to_owned(),
        Trouble::Refused(_) | Trouble::RefusedJoined(_) | Trouble::NoAnswer => {
            format!("look for the reason in the upstream's log; `{past}` skips the batch")
        }
        Trouble::Disbelieved => {
            "look for the reason in the upstream's log: the upstream loses records".to_owned()
        }
        Trouble::Unread | Trouble::Unfit(_) => {
            format!("`sedge doctor` names what is damaged; `{past}` skips the batch")
        }
        Trouble::Unfiltered => {
            format!("`sedge plugin list` and the log say what is wrong; `{past}` skips the batch")
        }
        Trouble::CreatedAgain(Side::Here) => format!(
            "`{}` puts its records behind those of the earlier topic, as on.topic.recreated = \
             append does for all topics",
            skip("0")
        ),
        Trouble::CreatedAgain(Side::Upstream) => format!(
            "`{}` continues at the cursor, `{}` copies everything again",
            skip(&at.to_string()),
            skip("0")
        ),
    };
    format!("at {at}: {trouble}; {advice}")
}
