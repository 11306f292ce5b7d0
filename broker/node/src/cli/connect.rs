//! Connects commands to a broker, by the Kafka protocol, like any client.

use std::collections::BTreeMap;
#[cfg(feature = "jit")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_executor::Executor;
use clap::Args;

use crate::client::{self, Client, ClientConfig};
use crate::config::file;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output};

/// How long a command retries: a user is waiting for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The default address of the broker.
const DEFAULT_SERVER: &str = "127.0.0.1:9092";

/// Flags for the connection to a broker and for the output.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// Address of the broker [default: 127.0.0.1:9092]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// Properties file with Kafka's client keys, such as security.protocol and ssl.*
    #[arg(long, global = true, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// Output format
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Output,
}

impl Connect {
    /// Runs a command's work with a client of that broker.
    ///
    /// # Errors
    /// The address is invalid, or the work fails.
    pub fn run<T>(
        &self,
        work: impl AsyncFnOnce(Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let config = self.config()?;
        let executor = Arc::new(Executor::new());
        let client = Client::new(Arc::clone(&executor), config);
        async_io::block_on(executor.run(work(client)))
    }

    /// Returns the properties file.
    #[cfg(feature = "jit")]
    pub fn command_config(&self) -> Option<&Path> {
        self.command_config.as_deref()
    }

    /// Returns the client configuration. Flags override the file.
    fn config(&self) -> Result<ClientConfig, Failure> {
        let mut keys = match &self.command_config {
            Some(path) => file::read_properties(path)
                .map_err(|problems| Failure::new(Exit::Config, problems.to_string()))?,
            None => BTreeMap::new(),
        };
        let in_file = keys.remove("bootstrap.servers");
        let (key, servers) = match (&self.bootstrap_server, in_file) {
            (Some(flag), _) => ("--bootstrap-server", flag.clone()),
            (None, Some(in_file)) => ("bootstrap.servers", in_file),
            (None, None) => ("--bootstrap-server", DEFAULT_SERVER.to_owned()),
        };
        let servers = client::config::servers_from(&servers)
            .map_err(|error| Failure::new(Exit::Usage, format!("{key}: {}", error.reason)))?;
        let mut config = ClientConfig::new(servers);
        config.api_timeout = PATIENCE;
        "sedge-cli".clone_into(&mut config.client_id);
        // As with Kafka's tools, one file may be shared by several clients: ignore unknown keys.
        let (known, others): (BTreeMap<_, _>, BTreeMap<_, _>) = keys
            .into_iter()
            .partition(|(key, _)| client::config::is_key(key));
        // Those of the console are for commands that ask it.
        let is_of_console = |key: &&String| key.starts_with("sedge.console.");
        for key in others.keys().filter(|key| !is_of_console(key)) {
            output::note(format_args!(
                "warning: {key} in the file of --command-config is not used by sedge"
            ));
        }
        config
            .apply(&known)
            .map_err(|error| Failure::new(Exit::Config, format!("--command-config: {error}")))?;
        Ok(config)
    }
}
