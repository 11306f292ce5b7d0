//! Translates offsets of a link's topics, by what the link has written of them.

use std::collections::BTreeMap;

use clap::Args;
use sedge_core::config::MIRROR_SOURCE_KEY;
use sedge_core::metadata::OFFSETS_TOPIC;
use sedge_core::mirror::offsets::{OffsetMap, Translated};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::offset_map_records::each_block;
use serde_json::json;

use crate::client::Client;
use crate::client::records::{EARLIEST, LATEST};
use crate::client::topics::Resource;
use crate::process::failure::{Exit, Failure};
use crate::process::output::Table;

/// Bytes of one fetch of the map.
const FETCH_BYTES: i32 = 1 << 20;

/// What to translate.
#[derive(Debug, Args)]
pub struct Translation {
    /// Name of the link
    link: String,
    /// Topic here
    #[arg(long)]
    topic: String,
    /// Partition of the topic
    #[arg(long, default_value_t = 0)]
    partition: i32,
    /// The next offset that a consumer here reads; without it, all that the link knows is shown
    #[arg(long, value_name = "OFFSET")]
    offset: Option<i64>,
    /// The offset is one upstream, and the one here is wanted
    #[arg(long, requires = "offset")]
    back: bool,
}

/// Translates an offset, or returns all runs of records that the link knows.
pub async fn translate(client: &Client, of: &Translation) -> Result<Table, Failure> {
    let (link, topic, index) = (of.link.as_str(), of.topic.as_str(), of.partition);
    let known = client.describe(&[topic]).await?.topics;
    let known = known
        .get(topic)
        .filter(|it| it.partitions.contains_key(&index));
    let known = known.ok_or_else(|| {
        let what = format!("there is no partition {index} of topic {topic} here");
        Failure::new(Exit::Unavailable, what).advise("`sedge topic list` lists the topics")
    })?;
    if is_copy(client, link, topic).await? {
        // A copy has the offsets of the upstream.
        let offset = of.offset.ok_or_else(|| {
            let what = format!("{topic} is a copy, and has the offsets of its topic upstream");
            Failure::new(Exit::Usage, what)
        })?;
        let same = Translated {
            offset: Offset(offset),
            is_exact: true,
        };
        return Ok(row(of, offset, same));
    }
    let map = read(client, link, known.id, index).await?;
    let Some(offset) = of.offset else {
        let mut table = Table::new(&["offset", "upstream", "records"]);
        for run in map.runs() {
            table.row([
                json!(run.here.get()),
                json!(run.there.get()),
                json!(run.count),
            ]);
        }
        return Ok(table);
    };
    let found = if of.back {
        map.here(Offset(offset))
    } else {
        map.upstream(Offset(offset))
    };
    let found = found.ok_or_else(|| {
        let what = format!(
            "the link {link} knows nothing of offset {offset} of {topic}-{index}: it was copied \
             before the link kept offsets, or deleted since, or the link has not copied so far"
        );
        Failure::new(Exit::Unavailable, what)
            .advise("`sedge mirror translate` without --offset shows what the link knows")
    })?;
    Ok(row(of, offset, found))
}

fn row(of: &Translation, offset: i64, found: Translated) -> Table {
    let mut table = Table::new(&["topic", "partition", "offset", "upstream", "exact"]);
    let (here, there) = if of.back {
        (found.offset.get(), offset)
    } else {
        (offset, found.offset.get())
    };
    table.row([
        json!(of.topic),
        json!(of.partition),
        json!(here),
        json!(there),
        json!(found.is_exact),
    ]);
    table
}

async fn is_copy(client: &Client, link: &str, topic: &str) -> Result<bool, Failure> {
    let keys = Some(&[MIRROR_SOURCE_KEY][..]);
    let told = client.describe_some_configs(Resource::Topic, topic, keys);
    let told = told.await?.into_iter().find_map(|entry| entry.value);
    let source = told.unwrap_or_default();
    Ok(source.split('/').next() == Some(link))
}

/// Reads the map of a partition.
async fn read(
    client: &Client,
    link: &str,
    topic: KafkaUuid,
    index: i32,
) -> Result<OffsetMap, Failure> {
    let mut map = OffsetMap::default();
    let known = client.describe(&[OFFSETS_TOPIC]).await?.topics;
    let is_there = known
        .get(OFFSETS_TOPIC)
        .is_some_and(|it| it.error == ErrorCode::None);
    if !is_there {
        return Ok(map);
    }
    let bound = async |which| {
        let found = client.list_offsets(&[(OFFSETS_TOPIC, 0, which)]).await?;
        let found: BTreeMap<_, _> = found;
        Ok::<_, Failure>(found.into_values().next().flatten().unwrap_or(Offset::ZERO))
    };
    let (mut next, end) = (bound(EARLIEST).await?, bound(LATEST).await?);
    while next < end {
        let fetched = client.fetch(OFFSETS_TOPIC, 0, next, FETCH_BYTES, 0).await?;
        let before = next;
        for batch in &fetched.batches {
            next = next.max(batch.header.next_offset());
            let read = each_block(batch, |of, _, block| {
                if (of.link, of.topic, of.partition) == (link, topic, index)
                    && let Some(block) = block
                {
                    map.add(block);
                }
            });
            read.map_err(|error| {
                let what = format!("{OFFSETS_TOPIC} cannot be read: {error}");
                Failure::new(Exit::Data, what)
            })?;
        }
        if next == before {
            break;
        }
    }
    Ok(map)
}
