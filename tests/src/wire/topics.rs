//! Requests all topics with their ids (`Metadata` v12, the first flexible version that has them).

use std::collections::BTreeMap;

use crate::wire::{Connection, Decoder, key};

/// A topic as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: [u8; 16],
    pub partitions: usize,
}

/// Returns all topics by name.
pub fn topics(at: &mut Connection) -> BTreeMap<String, Topic> {
    // The end of a flexible header, all topics, none created, no authorised operations, no tags.
    let reply = at.ask(key::METADATA, 12, &[0, 0, 0, 0, 0]);
    let mut d = Decoder(&reply);
    tags(&mut d);
    d.i32();
    for _ in 0..count(&mut d) {
        d.i32();
        text(&mut d);
        d.i32();
        text(&mut d);
        tags(&mut d);
    }
    text(&mut d);
    d.i32();
    let topics = count(&mut d);
    let topic = |d: &mut Decoder<'_>| {
        d.i16();
        let name = text(d).expect("all topics have names");
        let id = d.take(16).try_into().expect("an id has 16 bytes");
        d.take(1);
        let partitions = count(d);
        for _ in 0..partitions {
            d.take(14);
            for _ in 0..3 {
                let nodes = count(d);
                d.take(4 * nodes);
            }
            tags(d);
        }
        d.i32();
        tags(d);
        (name, Topic { id, partitions })
    };
    (0..topics).map(|_| topic(&mut d)).collect()
}

fn varint(d: &mut Decoder<'_>) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = d.take(1)[0];
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// Reads the length of a compact array; null counts as empty.
fn count(d: &mut Decoder<'_>) -> usize {
    varint(d).saturating_sub(1)
}

fn text(d: &mut Decoder<'_>) -> Option<String> {
    let length = varint(d).checked_sub(1)?;
    Some(String::from_utf8_lossy(d.take(length)).into_owned())
}

fn tags(d: &mut Decoder<'_>) {
    for _ in 0..varint(d) {
        varint(d);
        let length = varint(d);
        d.take(length);
    }
}
