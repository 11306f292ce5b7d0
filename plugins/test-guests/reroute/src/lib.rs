//! A filter for tests: the first words of a record's value say what becomes of the record.
//! `to TOPIC` routes it; `changed TOPIC` routes it with the key `moved` and without a value;
//! `drop`, `reject` and `panic` are what they say, `log` writes a line, and other records stay.
#![no_std]
use sedge_plugin_sdk::{Field, Record, ToOwned, Verdict, filter_fn, log};

#[filter_fn]
fn reroute(record: &Record<'_>) -> Verdict {
    let value = record.value().unwrap_or_default();
    let mut words = core::str::from_utf8(value).unwrap_or_default().split(' ');
    let command = words.next().unwrap_or_default();
    let topic = words.next().unwrap_or_default();
    match command {
        "to" => Verdict::route(topic),
        "changed" => Verdict::Route {
            topic: topic.to_owned(),
            key: Field::Bytes(b"moved".into()),
            value: Field::Null,
        },
        "drop" => Verdict::Drop,
        "reject" => Verdict::Reject("as it was told".to_owned()),
        "panic" => panic!("told to panic"),
        "log" => {
            log::info(topic);
            Verdict::Keep
        }
        _ => Verdict::Keep,
    }
}
