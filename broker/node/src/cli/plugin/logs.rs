//! `sedge plugin logs`: the last lines that a plugin logged, which the broker keeps in memory.

use async_io::Timer;
use clap::Args;
use serde_json::json;

use crate::cli::connect::Connect;
use crate::client::Client;
use crate::client::topics::Resource;
use crate::limits::WATCH_INTERVAL;
use crate::plugins::LOG_KEY_PREFIX;
use crate::process::failure::{Exit, Failure};
use crate::process::logging;
use crate::process::output::{self, Output};

/// The arguments of `sedge plugin logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Name of the plugin
    name: String,
    /// Print new lines as they come; Ctrl-C ends it
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    connect: Connect,
}

/// A line of a plugin, as the broker tells it.
struct Line<'a> {
    number: u64,
    time_ms: u64,
    level: &'a str,
    text: &'a str,
}

impl Logs {
    /// # Errors
    /// The broker cannot be reached, or there is no such plugin.
    pub fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |client| {
            let mut next = 0;
            loop {
                let lines = self.ask(&client).await?;
                let lines = lines.lines().filter_map(Line::read);
                // A broker that started anew counts from 0.
                let newest = lines.clone().map(|line| line.number + 1).max().unwrap_or(0);
                let shown = if newest < next { 0 } else { next };
                for line in lines.filter(|line| line.number >= shown) {
                    line.print(self.connect.output)?;
                }
                next = newest;
                if !self.follow {
                    return Ok(());
                }
                Timer::after(WATCH_INTERVAL).await;
            }
        })
    }

    async fn ask(&self, client: &Client) -> Result<String, Failure> {
        let brokers = client.describe(&[]).await?.brokers;
        let broker = brokers.keys().next().copied().unwrap_or_default();
        let key = format!("{LOG_KEY_PREFIX}{}", self.name);
        let (resource, broker) = (Resource::Broker, broker.to_string());
        let keys = [key.as_str()];
        let entries = client
            .describe_some_configs(resource, &broker, Some(&keys))
            .await?;
        let entry = entries.into_iter().find(|entry| entry.name == key);
        entry.and_then(|entry| entry.value).ok_or_else(|| {
            let what = format!("no plugin named {} is deployed", self.name);
            Failure::new(Exit::Unavailable, what)
                .advise("`sedge plugin list` lists the deployed plugins")
        })
    }
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        Some(Self {
            number: parts.next()?.parse().ok()?,
            time_ms: parts.next()?.parse().ok()?,
            level: parts.next()?,
            text: parts.next()?,
        })
    }

    fn print(&self, format: Output) -> Result<(), Failure> {
        let Self {
            number,
            time_ms,
            level,
            text,
        } = self;
        if format == Output::Json {
            return output::json(&json!({
                "number": number,
                "time_ms": time_ms,
                "level": level,
                "text": text,
            }));
        }
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(*time_ms);
        output::line(format_args!(
            "{} {level:5} {text}",
            logging::timestamp(time)
        ))
    }
}
