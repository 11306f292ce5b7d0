//! Reports the upstream's answers to the plan.

use std::collections::HashMap;

use sedge_core::mirror::{Outcome, Verdict};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::generated::ProduceResponseData;

use crate::client::Error;
use crate::client::records::is_about_leadership;

use super::lanes::{LaneId, Sent};
use super::link::{Answered, Link};

impl Link {
    pub(super) fn handle(&mut self, answered: Answered) -> Result<(), Error> {
        match answered {
            Answered::Produce {
                lane,
                batches,
                result,
            } => self.handle_produced(lane, batches, result),
            Answered::Step { round, result } => self.handle_step(round, result),
        }
    }

    fn handle_produced(
        &mut self,
        lane: LaneId,
        batches: Vec<Sent>,
        result: Result<ProduceResponseData, Error>,
    ) -> Result<(), Error> {
        self.lanes.answered(lane);
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                for sent in batches {
                    self.tell(sent, Outcome::Lost);
                }
                return Err(error);
            }
        };
        let mut outcomes = HashMap::new();
        for topic in &response.responses {
            for partition in &topic.partition_responses {
                let key = (topic.name.as_str(), partition.index);
                if let Some(message) = &partition.error_message {
                    log::debug!(target: "sedge::mirror", "{}-{}: {message}", key.0, key.1);
                }
                let outcome = match ErrorCode::from(partition.error_code) {
                    ErrorCode::None => {
                        Outcome::Acknowledged(Offset::from_wire(partition.base_offset))
                    }
                    code => Outcome::Refused(code),
                };
                outcomes.insert(key, outcome);
            }
        }
        for sent in batches {
            let Some(to) = self.destinations.get(&sent.partition) else {
                continue;
            };
            let answered = outcomes.get(&(&*to.there, to.index_of(sent.target)));
            self.tell(sent, answered.copied().unwrap_or(Outcome::Lost));
        }
        Ok(())
    }

    /// Reports the outcome of a batch to the plan.
    pub(super) fn tell(&mut self, sent: Sent, outcome: Outcome) {
        if let Outcome::Refused(code) = outcome
            && is_about_leadership(code)
            && let Some(to) = self.destinations.get(&sent.partition)
        {
            self.client.forget(&to.there);
            self.is_stale = true;
        }
        let Sent {
            partition,
            generation,
            base,
            ..
        } = sent;
        let (now_ms, random) = (self.now_ms(), fastrand::u64(..));
        let verdict = self
            .plan
            .handle_outcome(partition, generation, base, outcome, now_ms, random);
        let Some(to) = self.destinations.get(&partition) else {
            return;
        };
        let link = &self.config.name;
        if verdict == Some(Verdict::Disbelieved) {
            log::warn!(
                target: "sedge::mirror",
                "{link}: the upstream acknowledges {}-{} at {base}, an offset that it has given \
                 before: its topic was created again or lost records; the batch is sent again \
                 under a new producer id",
                to.topic, to.index
            );
            self.is_stale = true;
        }
    }
}
