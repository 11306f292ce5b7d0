//! The page: one document without scripts or assets, which reloads itself.

use std::fmt::{self, Write as _};

use super::limits;
use super::status::{Status, TopicStatus};
use crate::metrics::Metrics;

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="3">
<title>sedge</title>
<style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #8884}
th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bad{color:#c22;font-weight:600}.dim{opacity:.65}
</style></head><body>
"#;

/// The whole page.
pub fn render(status: &Status, ready: Result<(), String>, metrics: &Metrics) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string does not fail.
    let _ = write(&mut page, status, ready, metrics);
    page.push_str("</body></html>\n");
    page
}

fn write(
    page: &mut String,
    status: &Status,
    ready: Result<(), String>,
    metrics: &Metrics,
) -> fmt::Result {
    writeln!(page, "<h1>sedge {}</h1>", Text(crate::VERSION))?;
    match ready {
        Ok(()) => writeln!(page, "<p>ready</p>")?,
        Err(why) => writeln!(page, "<p class=bad>not ready: {}</p>", Text(&why))?,
    }
    let unready = status.topics.iter().filter(|topic| {
        let mut filters = topic.filters.iter();
        filters.any(|filter| filter.unready.is_some())
    });
    for topic in unready.take(limits::PAGE_ROWS_MAX) {
        let (name, filters) = (Text(&topic.name), filters(topic));
        let filters = Text(&filters);
        writeln!(
            page,
            "<p class=bad>topic {name} is not ready: filter {filters}</p>"
        )?;
    }
    if status.storage.damaged_places > 0 {
        let places = status.storage.damaged_places;
        writeln!(
            page,
            "<p class=bad>storage: reads pass over {places} damaged places; the broker's log names \
             them</p>"
        )?;
    }
    if let Some(degraded) = &status.storage.degraded {
        writeln!(page, "<p class=bad>storage: {}</p>", Text(degraded))?;
    }
    broker(page, status, metrics)?;
    topics(page, status)?;
    groups(page, status)?;
    plugins(page, metrics)?;
    links(page, metrics)?;
    writeln!(
        page,
        "<p class=dim>Reloads every 3 s. <a href=/metrics>metrics</a> \
         <a href=/livez>livez</a> <a href=/readyz>readyz</a></p>"
    )
}

fn broker(page: &mut String, status: &Status, metrics: &Metrics) -> fmt::Result {
    let storage = &status.storage;
    let uptime = metrics.uptime().as_secs();
    let (hours, minutes, seconds) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
    let partitions: u64 = status
        .topics
        .iter()
        .map(|topic| u64::from(topic.partitions))
        .sum();
    writeln!(page, "<h2>Broker</h2><table>")?;
    for (name, value) in [
        (
            "broker",
            format!("{} in cluster {}", status.node_id, status.cluster_id),
        ),
        ("Kafka clients connect to", status.listeners.join(", ")),
        (
            "up for",
            format!("{hours} h {minutes:02} min {seconds:02} s"),
        ),
        (
            "memory",
            crate::process::usage::resident_bytes()
                .map_or("?".into(), |bytes| Bytes(bytes).to_string()),
        ),
        (
            "data",
            format!("{} in {}", Bytes(storage.disk_bytes), status.data),
        ),
        ("free on the volume", Bytes(storage.free_bytes).to_string()),
        (
            "limit of the data",
            storage
                .disk
                .cap_bytes
                .map_or("none".into(), |bytes| Bytes(bytes).to_string()),
        ),
        (
            "written to the device",
            storage.disk.wear(|bytes| Bytes(bytes).to_string()),
        ),
        ("segments", storage.segments.to_string()),
        (
            "topics, partitions",
            format!("{}, {partitions}", status.topics.len()),
        ),
        ("connections", metrics.connections.get().to_string()),
        (
            "produced",
            format!(
                "{} records, {}",
                metrics.produce_records.get(),
                Bytes(metrics.produce_bytes.get())
            ),
        ),
        ("fetched", Bytes(metrics.fetch_bytes.get()).to_string()),
    ] {
        writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", Text(&value))?;
    }
    writeln!(page, "</table>")
}

fn topics(page: &mut String, status: &Status) -> fmt::Result {
    let head = ["Topic", "#Partitions", "#Records", "#Bytes", "Filters"];
    let rows = status.topics.iter().map(|topic| {
        vec![
            topic.name.clone(),
            topic.partitions.to_string(),
            topic.records.to_string(),
            Bytes(topic.bytes).to_string(),
            filters(topic),
        ]
    });
    table(
        page,
        "Topics",
        "no topics yet: a topic is created when a client first uses it",
        &head,
        rows,
    )
}

/// Returns the names of a topic's filters, each with the reason if it cannot run.
fn filters(topic: &TopicStatus) -> String {
    let filters = topic.filters.iter().map(|filter| match &filter.unready {
        Some(why) => format!("{} ({why})", filter.name),
        None => filter.name.clone(),
    });
    filters.collect::<Vec<_>>().join(", ")
}

fn groups(page: &mut String, status: &Status) -> fmt::Result {
    let rows = status.groups.iter().map(|group| {
        vec![
            group.name.clone(),
            group.state.clone(),
            group.members.to_string(),
        ]
    });
    table(
        page,
        "Consumer groups",
        "none",
        &["Group", "State", "#Members"],
        rows,
    )
}

fn plugins(page: &mut String, metrics: &Metrics) -> fmt::Result {
    let head = [
        "Plugin",
        "#Calls",
        "#Kept",
        "#Dropped",
        "#Replaced",
        "#Rejected",
        "#Traps",
    ];
    let plugins = metrics.plugins();
    let rows = plugins.iter().map(|(name, plugin)| {
        let counters = [
            &plugin.calls,
            &plugin.kept,
            &plugin.dropped,
            &plugin.replaced,
            &plugin.rejected,
            &plugin.traps,
        ];
        let counters = counters.iter().map(|counter| counter.get().to_string());
        std::iter::once(name.clone()).chain(counters).collect()
    });
    table(
        page,
        "Plugins",
        "no plugin has been called yet",
        &head,
        rows,
    )
}

fn links(page: &mut String, metrics: &Metrics) -> fmt::Result {
    let head = [
        "Link",
        "State",
        "#Held",
        "#Records to send",
        "#Bytes to send",
        "#Behind",
        "#Records sent",
        "#Records/s",
        "#Caught up in",
        "Next try",
    ];
    let links = metrics.links();
    let rows = links.iter().map(|(name, link)| {
        let state = link.state();
        let state = match state.why() {
            Some(why) => format!("{}: {why}", state.name()),
            None => state.name().to_owned(),
        };
        let figures = link.progress().link;
        let left = figures.catches_up_in_s;
        let wait = link.failure().and_then(|failure| failure.wait());
        vec![
            name.clone(),
            state,
            link.held.get().to_string(),
            figures.lag_records.to_string(),
            Bytes(figures.lag_bytes.max(0) as u64).to_string(),
            format!("{:.1} s", figures.lag_ms as f64 / 1e3),
            link.sent_records.get().to_string(),
            format!("{:.1}", figures.records_per_s),
            left.map_or_else(|| "does not shrink".to_owned(), |s| format!("{s:.0} s")),
            wait.map_or_else(String::new, |wait| {
                format!("in {:.1} s", wait.as_secs_f64())
            }),
        ]
    });
    table(page, "Mirror links", "no link is configured", &head, rows)?;
    let mut held = Vec::new();
    for (name, link) in &links {
        let holds = link.holds();
        let partitions = holds.partitions.into_iter();
        held.extend(partitions.map(|(what, why)| vec![name.clone(), what, format!("held {why}")]));
        let topics = holds.topics.into_iter();
        held.extend(
            topics.map(|(what, why)| vec![name.clone(), what, format!("not started: {why}")]),
        );
    }
    if held.is_empty() {
        return Ok(());
    }
    let head = ["Link", "Topic or partition", "Why"];
    table(page, "Not copied by links", "", &head, held.into_iter())
}

/// Writes a table; a heading that begins with `#` marks a column of numbers.
fn table(
    page: &mut String,
    title: &str,
    empty: &str,
    head: &[&str],
    rows: impl ExactSizeIterator<Item = Vec<String>>,
) -> fmt::Result {
    writeln!(page, "<h2>{title}</h2>")?;
    let count = rows.len();
    if count == 0 {
        return writeln!(page, "<p class=dim>{empty}</p>");
    }
    let class = |heading: &str| {
        if heading.starts_with('#') {
            " class=n"
        } else {
            ""
        }
    };
    write!(page, "<table><tr>")?;
    for heading in head {
        write!(
            page,
            "<th{}>{}</th>",
            class(heading),
            heading.trim_start_matches('#')
        )?;
    }
    writeln!(page, "</tr>")?;
    for row in rows.take(limits::PAGE_ROWS_MAX) {
        write!(page, "<tr>")?;
        for (heading, cell) in head.iter().zip(&row) {
            write!(page, "<td{}>{}</td>", class(heading), Text(cell))?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</table>")?;
    if count > limits::PAGE_ROWS_MAX {
        let more = count - limits::PAGE_ROWS_MAX;
        writeln!(page, "<p class=dim>and {more} more</p>")?;
    }
    Ok(())
}

/// Text, escaped for a document.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A number of bytes, formatted for people.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let power = (self.0.ilog2() / 10).min(UNITS.len() as u32);
        let value = self.0 as f64 / 1024_f64.powi(power as i32);
        let unit = UNITS.get(power as usize - 1).copied().unwrap_or_default();
        write!(f, "{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{FilterStatus, GroupStatus};
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_cell() {
        let group = GroupStatus {
            name: "<script>\"&".into(),
            ..GroupStatus::default()
        };
        let topics = vec![
            TopicStatus {
                name: "t".into(),
                ..TopicStatus::default()
            };
            201
        ];
        let status = Status {
            groups: vec![group],
            topics,
            ..Status::default()
        };
        let page = render(&status, Err("no <b>".into()), &Metrics::default());
        assert!(page.contains("<td>&lt;script&gt;&quot;&amp;</td>"));
        assert!(page.contains("not ready: no &lt;b&gt;"));
        assert!(page.contains("and 1 more"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_topic_whose_filter_cannot_run_is_marked() {
        let filter = |name: &str, unready: Option<&str>| FilterStatus {
            name: name.into(),
            unready: unready.map(str::to_owned),
        };
        let topic = |name: &str, filters: Vec<FilterStatus>| TopicStatus {
            name: name.into(),
            filters,
            ..TopicStatus::default()
        };
        let bound = vec![filter("a", None), filter("b", Some("not deployed"))];
        let topics = vec![topic("fine", vec![filter("a", None)]), topic("not", bound)];
        let status = Status {
            topics,
            ..Status::default()
        };
        let page = render(&status, Ok(()), &Metrics::default());
        assert!(page.contains("topic not is not ready: filter a, b (not deployed)"));
        assert!(page.contains("<td>a, b (not deployed)</td>"));
        assert!(!page.contains("topic fine is not ready"));
        let series = super::super::series::render(&status, &Metrics::default());
        let ready = |topic, filter, value| {
            format!("sedge_topic_filter_ready{{topic=\"{topic}\",filter=\"{filter}\"}} {value}\n")
        };
        assert!(series.contains(&ready("not", "b", 0)), "{series}");
        assert!(series.contains(&ready("not", "a", 1)), "{series}");
        assert!(series.contains(&ready("fine", "a", 1)), "{series}");
    }

    #[test]
    fn bytes_read_well() {
        let check = |bytes: u64, expected: &str| assert_eq!(Bytes(bytes).to_string(), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(1536 << 20, "1.5 GiB");
        check(u64::MAX, "16777216.0 TiB");
    }
}
