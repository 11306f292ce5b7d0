//! `sedge demo`: an edge broker with a filter, mirrored to a second broker, fed with simulated
//! sensor readings.
//!
//! Both brokers are separate processes, in a temporary directory; all communication is by the Kafka
//! protocol. At the end the numbers from both brokers' offsets and metrics are compared, and a
//! mismatch is a failure.

mod feed;
mod limits;
mod readings;
mod screen;
mod server;
mod sums;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_executor::Executor;
use async_io::Timer;
use clap::Args;
use futures_lite::future;

use crate::client::topics::NewTopic;
use crate::client::{Client, ClientConfig, plugins};
use crate::process::failure::{Exit, Failure};
use crate::process::output;
use crate::process::signals::Signals;
use feed::Feed;
use screen::Screen;
use server::Server;
use sums::{Sums, Watch};

/// The topic of the readings.
const TOPIC: &str = "sensors";
/// Its partitions.
const PARTITIONS: i32 = 3;
/// The name under which the filter is deployed.
const FILTER: &str = "range";
/// The link to the second broker.
const LINK: &str = "hq";

/// Run a demonstration: sensors, an edge broker with a filter, a mirror to a second broker.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long to produce readings, like 20s or 2m
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = duration)]
    time: Duration,
    /// Readings per second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Component of the filter; without one, nothing is filtered
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Keep the data directories
    #[arg(long)]
    keep: bool,
}

/// Parses `20s`, `2m`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a time like 20s, 2m or 500ms".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(format!("`{unit}` is not a unit of time; use ms, s, m or h")),
    }
}

impl Demo {
    /// Runs the demo to its end.
    ///
    /// # Errors
    /// A broker does not start or refuses, or the sums do not add up.
    pub fn run(&self) -> Result<(), Failure> {
        let signals = Signals::install().map_err(|error| Failure::io("handle signals", &error))?;
        let component = self.plugin.as_deref().map(read).transpose()?;
        let place = Place::make(self.keep)?;
        let hq = Server::start(LINK, &place.path, &[])?;
        let bootstrap = format!("mirror.{LINK}.bootstrap.servers={}", hq.kafka);
        let topics = format!("mirror.{LINK}.topics={TOPIC}");
        let edge = Server::start("edge", &place.path, &[&bootstrap, &topics])?;
        let executor = Arc::new(Executor::new());
        let stage = Stage {
            edge_client: client_of(&executor, &edge.kafka)?,
            executor: Arc::clone(&executor),
            edge,
            hq,
        };
        let ended =
            async_io::block_on(executor.run(stage.play(self, component.as_deref(), signals)));
        let said = ended.map_err(|failure| {
            // The logs are deleted with the directory.
            if place.keep {
                failure
            } else {
                failure.advise(stage.logs())
            }
        });
        stage.stop();
        if place.keep {
            output::line(format_args!(
                "the data and logs are kept in {}",
                place.path.display()
            ))?;
        }
        said
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(&format!("read {}", path.display()), &error))
}

fn client_of(executor: &Arc<Executor<'static>>, address: &str) -> Result<Client, Failure> {
    let servers = crate::client::config::servers_from(address)
        .map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
    let mut config = ClientConfig::new(servers);
    config.api_timeout = limits::PATIENCE;
    "sedge-demo".clone_into(&mut config.client_id);
    Ok(Client::new(Arc::clone(executor), config))
}

/// The temporary directory; removed at the end unless it is to be kept.
struct Place {
    path: PathBuf,
    keep: bool,
}

impl Place {
    fn make(keep: bool) -> Result<Self, Failure> {
        let name = format!("sedge-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| {
            let what = format!("cannot create the directory {}: {error}", path.display());
            Failure::new(Exit::CannotCreate, what)
                .advise("set TMPDIR to a directory with free space")
        })?;
        Ok(Self { path, keep })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // Best effort: whatever is left is in a temporary directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The brokers, clients and tasks of the demo.
struct Stage {
    executor: Arc<Executor<'static>>,
    edge: Server,
    hq: Server,
    edge_client: Client,
}

impl Stage {
    async fn play(
        &self,
        demo: &Demo,
        component: Option<&[u8]>,
        mut signals: Signals,
    ) -> Result<(), Failure> {
        let screen = Screen::open(&self.edge, &self.hq, demo.time, component.is_some())?;
        self.prepare(component).await?;
        let watch = Watch::new(self, component.is_some());
        let feed = Feed::start(&self.executor, &self.edge_client, demo.rate).await?;
        let end = Instant::now() + demo.time;
        let shown = async {
            while Instant::now() < end && !feed.has_failed() {
                screen.show(&watch.look(&feed).await?)?;
                let next = Instant::now() + screen.interval();
                Timer::at(next.min(end)).await;
            }
            Ok::<_, Failure>(())
        };
        let interrupted = async {
            signals.stop(|| {}).await;
            Ok(())
        };
        future::or(shown, interrupted).await?;
        let ending = async {
            feed.stop().await?;
            self.settle(&watch, &feed, &screen).await
        };
        let sums = signals.finish(ending).await?;
        screen.close(&sums)
    }

    /// Creates the topic and deploys the filter.
    async fn prepare(&self, component: Option<&[u8]>) -> Result<(), Failure> {
        let mut topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: Some(PARTITIONS),
            ..NewTopic::default()
        };
        if let Some(component) = component {
            plugins::deploy(&self.edge_client, FILTER, component).await?;
            topic
                .configs
                .insert("sedge.filter".to_owned(), FILTER.to_owned());
        }
        for (_, outcome) in self.edge_client.create_topics(&[topic]).await? {
            outcome?;
        }
        Ok(())
    }

    /// Waits until the link has copied everything.
    async fn settle(
        &self,
        watch: &Watch<'_>,
        feed: &Feed,
        screen: &Screen,
    ) -> Result<Sums, Failure> {
        let end = Instant::now() + limits::SETTLE_TIME_MAX;
        loop {
            let sums = watch.look(feed).await?;
            screen.show(&sums)?;
            if sums.has_settled() || Instant::now() > end {
                return Ok(sums);
            }
            Timer::after(limits::SETTLE_INTERVAL).await;
        }
    }

    fn logs(&self) -> String {
        format!("{}\n{}", self.edge.log_tail(), self.hq.log_tail())
    }

    fn stop(self) {
        self.edge.stop();
        self.hq.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(
                duration(text).ok().map(|time| time.as_secs_f64()),
                seconds,
                "{text}"
            );
        };
        check("20s", Some(20.0));
        check("20", Some(20.0));
        check("2m", Some(120.0));
        check("500ms", Some(0.5));
        check("1h", Some(3600.0));
        check("soon", None);
        check("1y", None);
        check("", None);
    }
}
