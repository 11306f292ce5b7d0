//! The topics that a pull link creates before it reaches the upstream: `topics.create`.

use sedge_core::limits::PARTITIONS_PER_TOPIC_MAX;

use super::rename::is_name;
use super::selection::Selection;

/// A topic, and how many partitions it has upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredTopic {
    pub name: String,
    pub partitions: i32,
}

/// Reads entries of the form `NAME:PARTITIONS`, of topics that the link copies.
///
/// # Errors
/// The reason why an entry cannot be used.
pub fn declared(entries: &[String], selection: &Selection) -> Result<Vec<DeclaredTopic>, String> {
    let read = |entry: &String| {
        let (name, partitions) = entry
            .rsplit_once(':')
            .ok_or_else(|| format!("{entry:?} is not NAME:PARTITIONS"))?;
        let (name, partitions) = (name.trim(), partitions.trim().parse().ok());
        let partitions = partitions.filter(|count| (1..=PARTITIONS_PER_TOPIC_MAX).contains(count));
        let partitions = partitions.ok_or_else(|| {
            format!("{entry:?} has no number of partitions from 1 to {PARTITIONS_PER_TOPIC_MAX}")
        })?;
        if !is_name(name) {
            return Err(format!("{name:?} is not the name of a topic"));
        }
        if !selection.takes(name) {
            return Err(format!("the link's topics do not select {name}"));
        }
        Ok(DeclaredTopic {
            name: name.to_owned(),
            partitions,
        })
    };
    entries.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_a_name_that_is_selected_and_partitions() {
        let selection = Selection::new(&["commands.*".to_owned()], &[]).unwrap();
        let read = |entry: &str| declared(&[entry.to_owned()], &selection);
        let topic = DeclaredTopic {
            name: "commands.all".to_owned(),
            partitions: 3,
        };
        assert_eq!(read("commands.all: 3"), Ok(vec![topic]));
        for wrong in [
            "commands.all",
            "commands.all:0",
            "commands.all:-1",
            "commands.all:3000000000",
            "commands all:1",
            "other:1",
            ":1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
