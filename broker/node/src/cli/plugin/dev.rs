//! `sedge plugin dev`: a plugin that is written while a broker runs it.

use std::path::PathBuf;
use std::time::Instant;

use async_io::Timer;
use clap::Args;
use sedge_plugin::{Limits, World, guest};
use sedge_protocol::plugin_records;

use super::watched::Watched;
use crate::cli::connect::Connect;
use crate::cli::console::{Console, Purpose};
use crate::cli::scrape::scrape;
use crate::client::topics::Resource;
use crate::client::{Client, plugins};
use crate::limits::WATCH_INTERVAL;
use crate::process::failure::{Exit, Failure};
use crate::process::output;

/// The verdicts and failures that are shown, as labels and names of `/metrics`.
const VERDICTS: [&str; 7] = [
    "keep",
    "drop",
    "replace",
    "reject",
    "route",
    "quarantine",
    "move",
];
const FAILURES: [(&str, &str); 2] = [
    ("traps", "sedge_plugin_traps_total"),
    ("deadlines", "sedge_plugin_deadlines_total"),
];

/// Build, deploy and bind a plugin after each change of its source.
#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C ends it. The plugin stays deployed and the topic bound; `sedge topic alter TOPIC --unset
sedge.filter` (or sedge.partitioner) unbinds the topic.")]
pub struct Dev {
    /// Directory of the source
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Topic to bind to the plugin
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Name of the plugin [default: the directory's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Address of the broker's console, whose metrics have the verdicts; with https://, or if it
    /// asks for a token, --command-config has ssl.truststore.location and sedge.console.token
    #[arg(
        long,
        value_name = "[https://]HOST[:PORT]",
        default_value = "127.0.0.1:9644"
    )]
    console: String,
    #[command(flatten)]
    connect: Connect,
}

/// The numbers of verdicts and failures, in the order of the constants above.
type Counts = [f64; VERDICTS.len() + FAILURES.len()];

impl Dev {
    /// Watches the source until the process ends.
    ///
    /// # Errors
    /// The directory cannot be read, or its name cannot be a plugin's. What fails later is shown,
    /// and tried again after the next change.
    pub fn run(&self) -> Result<(), Failure> {
        let directory = std::path::absolute(&self.directory)
            .map_err(|error| Failure::io("find the current directory", &error))?;
        let of_directory = directory.file_name().unwrap_or_default();
        let name = match &self.name {
            Some(name) => name.clone(),
            None => of_directory.to_string_lossy().into_owned(),
        };
        plugin_records::check_name(&name)
            .map_err(|why| Failure::new(Exit::Usage, why).advise("name the plugin with --name"))?;
        let command_config = self.connect.command_config();
        let console = Console::of(Purpose::Metrics, &self.console, command_config)?;
        self.connect
            .run(async |client| self.watch(&client, &console, &name).await)
    }

    async fn watch(&self, client: &Client, console: &Console, name: &str) -> Result<(), Failure> {
        let mut seen = Watched::default();
        // From before the plugin is there, so that the first verdict counts.
        let mut shown = show_counts(console, name, None).await?;
        loop {
            // Looked at before the build, so that a change during it is seen after it.
            let now = Watched::look(&self.directory).map_err(|error| {
                Failure::io(&format!("read {}", self.directory.display()), &error)
            })?;
            if now != seen {
                seen = now;
                match self.deploy(client, name).await {
                    Ok(done) => output::line(format_args!("{done}"))?,
                    Err(failure) => output::note(format_args!("{failure}")),
                }
            }
            shown = show_counts(console, name, shown).await?;
            Timer::after(WATCH_INTERVAL).await;
        }
    }

    /// Builds the plugin, deploys it and binds the topic. Returns what was done.
    async fn deploy(&self, client: &Client, name: &str) -> Result<String, Failure> {
        let began = Instant::now();
        let directory = self.directory.clone();
        let built = blocking::unblock(move || guest::make(&directory)).await;
        let failed = |why: String| {
            Failure::new(Exit::Data, format!("not deployed: {why}")).advise("waiting for a change")
        };
        let component = built.map_err(|error| failed(error.to_string()))?;
        let (world, _) = sedge_plugin::inspect(&component, Limits::default().component_bytes_max)
            .map_err(|error| failed(error.to_string()))?;
        let key = match world {
            World::RecordFilter => "sedge.filter",
            World::KeyPartitioner => "sedge.partitioner",
            World::QuotaPolicy => {
                let why = "a quota policy is bound to the broker (sedge.quota.policy), not a topic";
                return Err(failed(why.to_owned()));
            }
        };
        plugins::deploy(client, name, &component).await?;
        self.bind(client, key, name).await?;
        Ok(format!(
            "deployed {name}, a {world} of {} bytes, for topic {} after {:.1} s",
            component.len(),
            self.topic,
            began.elapsed().as_secs_f64()
        ))
    }

    /// Binds the topic, behind the filters that it has already.
    async fn bind(&self, client: &Client, key: &str, name: &str) -> Result<(), Failure> {
        let entries = client.describe_configs(Resource::Topic, &self.topic);
        let entries = entries.await?;
        let entry = entries.iter().find(|entry| entry.name == key);
        let value = entry.and_then(|entry| entry.value.as_deref());
        let value = value.unwrap_or_default();
        if value.split(',').any(|bound| bound.trim() == name) {
            return Ok(());
        }
        let value = if value.is_empty() || key != "sedge.filter" {
            name.to_owned()
        } else {
            format!("{value},{name}")
        };
        let changes = [(key, Some(value.as_str()))];
        client
            .alter_configs(Resource::Topic, &self.topic, &changes)
            .await?;
        Ok(())
    }
}

/// Prints how the counts have changed since `shown`. Returns the new ones.
async fn show_counts(
    console: &Console,
    name: &str,
    shown: Option<Counts>,
) -> Result<Option<Counts>, Failure> {
    let samples = match scrape(console).await {
        Ok(samples) => samples,
        Err(failure) => {
            // Once, and not every half second.
            if shown != Some(Counts::default()) {
                output::note(format_args!("no verdicts: {failure}"));
            }
            return Ok(Some(Counts::default()));
        }
    };
    let verdict = |verdict: &str| {
        format!("sedge_plugin_records_total{{plugin=\"{name}\",verdict=\"{verdict}\"}}")
    };
    let failure = |family: &str| format!("{family}{{plugin=\"{name}\"}}");
    let names = VERDICTS.iter().map(|name| (*name, verdict(name)));
    let failures = FAILURES
        .iter()
        .map(|(name, family)| (*name, failure(family)));
    let mut counts = Counts::default();
    let mut changes = Vec::new();
    for (index, (label, sample)) in names.chain(failures).enumerate() {
        let now = samples.get(&sample).copied().unwrap_or_default();
        let before = shown.and_then(|shown| shown.get(index).copied());
        let more = now - before.unwrap_or(now);
        // A broker that starts anew counts from 0.
        let more = if more < 0.0 { now } else { more };
        if more > 0.0 {
            changes.push(format!("{label} +{more}"));
        }
        if let Some(count) = counts.get_mut(index) {
            *count = now;
        }
    }
    if !changes.is_empty() {
        output::line(format_args!("{name}: {}", changes.join(", ")))?;
    }
    Ok(Some(counts))
}
