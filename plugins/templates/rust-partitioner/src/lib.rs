//! Keeps records whose keys have the same beginning in one partition: what is before the first `-`,
//! or another separator in the setting `sedge.plugin.my-plugin.separator` of the topic.
#![no_std]
use sedge_plugin_sdk::{
    Config, Fields, Partitioner, String, ToOwned, kafka_partition, partitioner,
};

struct ByPrefix {
    separator: u8,
}

impl Partitioner for ByPrefix {
    fn configure(config: &Config) -> Result<Self, String> {
        match config.get("separator").unwrap_or("-").as_bytes() {
            [separator] => Ok(Self {
                separator: *separator,
            }),
            _ => Err("setting separator: must be one character".to_owned()),
        }
    }

    fn partition(&self, record: &Fields<'_>, partitions: u32) -> u32 {
        let key = record.key().unwrap_or_default();
        let end = key.iter().position(|byte| *byte == self.separator);
        kafka_partition(&key[..end.unwrap_or(key.len())], partitions)
    }
}

partitioner!(ByPrefix);
