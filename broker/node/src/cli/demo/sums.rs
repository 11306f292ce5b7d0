//! The numbers from both brokers' offsets and metrics, and whether they match.

use std::collections::BTreeMap;

use sedge_protocol::ids::Offset;

use super::feed::Feed;
use super::{FILTER, LINK, PARTITIONS, Stage, TOPIC};
use crate::cli::console::{Console, Purpose};
use crate::cli::scrape::{Samples, scrape};
use crate::client::Client;
use crate::client::records::{EARLIEST, LATEST};
use crate::process::failure::Failure;

/// Reads the numbers of both brokers.
pub struct Watch<'a> {
    stage: &'a Stage,
    is_filtered: bool,
}

/// The numbers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// Whether the filter is bound.
    pub is_filtered: bool,
    /// Readings that the edge broker has acknowledged.
    pub produced: u64,
    /// Number of them that the demo made faulty.
    pub faulty: u64,
    /// Readings that the filter reports as kept.
    pub kept: u64,
    /// Readings that the filter reports as dropped.
    pub dropped: u64,
    /// Records in the edge broker's log.
    pub at_edge: u64,
    /// Records that the second broker has taken.
    pub at_hq: u64,
    /// The link's lag in seconds.
    pub lag_seconds: f64,
    /// Bytes of record batches in the edge broker's log.
    pub log_bytes: f64,
    /// Bytes that the edge broker has written.
    pub written_bytes: f64,
    /// Resident memory of the edge broker.
    pub memory_bytes: f64,
}

impl<'a> Watch<'a> {
    pub fn new(stage: &'a Stage, is_filtered: bool) -> Self {
        Self { stage, is_filtered }
    }

    /// Reads the current numbers. The far end is read first, so that a reading never seems to
    /// arrive before it was sent.
    pub async fn look(&self, feed: &Feed) -> Result<Sums, Failure> {
        // Offsets there count the markers of transactions, too.
        let hq = metrics(&self.stage.hq.console).await?;
        let at_hq = value(&hq, "sedge_produced_records_total") as u64;
        let at_edge = records(&self.stage.edge_client).await?;
        let edge = metrics(&self.stage.edge.console).await?;
        let (produced, faulty) = feed.acknowledged();
        let verdict = |verdict: &str| {
            let name =
                format!("sedge_plugin_records_total{{plugin=\"{FILTER}\",verdict=\"{verdict}\"}}");
            value(&edge, &name) as u64
        };
        Ok(Sums {
            is_filtered: self.is_filtered,
            produced,
            faulty,
            kept: if self.is_filtered {
                verdict("keep")
            } else {
                produced
            },
            dropped: verdict("drop"),
            at_edge,
            at_hq,
            lag_seconds: value(
                &edge,
                &format!("sedge_mirror_lag_seconds{{link=\"{LINK}\"}}"),
            ),
            log_bytes: value(&edge, "sedge_storage_live_bytes"),
            written_bytes: value(&edge, "sedge_storage_written_bytes_total"),
            memory_bytes: value(&edge, "sedge_resident_memory_bytes"),
        })
    }
}

/// Returns the metrics of a broker by the address of its console.
async fn metrics(console: &str) -> Result<Samples, Failure> {
    scrape(&Console::of(Purpose::Metrics, console, None)?).await
}

fn value(samples: &Samples, name: &str) -> f64 {
    samples.get(name).copied().unwrap_or(0.0)
}

/// Returns the records in a broker's topic, by its offsets; 0 while there is no topic.
async fn records(client: &Client) -> Result<u64, Failure> {
    let topics = client.describe(&[TOPIC]).await?.topics;
    let exists = |topic: &crate::client::TopicMetadata| {
        topic.partitions.len() == PARTITIONS as usize && topic.error.code() == 0
    };
    if !topics.get(TOPIC).is_some_and(exists) {
        return Ok(0);
    }
    let of = |time: i64| (0..PARTITIONS).map(move |index| (TOPIC, index, time));
    let ends = client.list_offsets(&of(LATEST).collect::<Vec<_>>()).await?;
    let starts = client
        .list_offsets(&of(EARLIEST).collect::<Vec<_>>())
        .await?;
    let sum = |offsets: BTreeMap<_, Option<Offset>>| {
        offsets
            .into_values()
            .flatten()
            .map(Offset::get)
            .sum::<i64>()
    };
    Ok((sum(ends) - sum(starts)).max(0) as u64)
}

impl Sums {
    /// Returns the records that the link has not copied yet.
    pub fn lag(&self) -> u64 {
        self.at_edge.saturating_sub(self.at_hq)
    }

    /// Returns whether every reading has arrived at its destination.
    pub fn has_settled(&self) -> bool {
        self.at_edge == self.at_hq && self.checks().iter().all(|check| check.1)
    }

    /// Returns the conditions that must hold at the end, and whether they do.
    pub fn checks(&self) -> Vec<(String, bool)> {
        let Self {
            produced,
            faulty,
            kept,
            dropped,
            at_edge,
            at_hq,
            ..
        } = *self;
        let mut checks = Vec::new();
        if self.is_filtered {
            checks.push((
                format!("produced {produced} = kept {kept} + dropped {dropped}"),
                produced == kept + dropped,
            ));
            checks.push((
                format!("dropped {dropped} = faulty when made {faulty}"),
                dropped == faulty,
            ));
        }
        checks.push((
            format!("in the log of edge {at_edge} = kept {kept}"),
            at_edge == kept,
        ));
        checks.push((
            format!("taken by hq {at_hq} = in the log of edge {at_edge}"),
            at_hq == at_edge,
        ));
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_are_off_by_one_are_seen() {
        let good = Sums {
            is_filtered: true,
            produced: 100,
            faulty: 3,
            kept: 97,
            dropped: 3,
            at_edge: 97,
            at_hq: 97,
            lag_seconds: 0.0,
            log_bytes: 0.0,
            written_bytes: 0.0,
            memory_bytes: 0.0,
        };
        assert!(good.has_settled());
        let off: [fn(&mut Sums); 6] = [
            |sums| sums.produced += 1,
            |sums| sums.faulty += 1,
            |sums| sums.kept -= 1,
            |sums| sums.dropped += 1,
            |sums| sums.at_edge -= 1,
            |sums| sums.at_hq += 1,
        ];
        for change in off {
            let mut sums = good.clone();
            change(&mut sums);
            assert!(!sums.has_settled(), "{sums:?}");
        }
    }
}
