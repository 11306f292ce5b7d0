//! Connects commands to a broker, by the Kafka protocol, like any client.

use std::sync::Arc;
use std::time::Duration;

use async_executor::Executor;
use clap::Args;

use crate::client::{self, Client, ClientConfig};
use crate::process::failure::{Exit, Failure};
use crate::process::output::Output;

/// How long a command retries: a user is waiting for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which broker, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// Address of the broker
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap_server: String,
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
        let servers = client::config::servers_from(&self.bootstrap_server).map_err(|error| {
            Failure::new(Exit::Usage, format!("--bootstrap-server: {}", error.reason))
        })?;
        let mut config = ClientConfig::new(servers);
        config.api_timeout = PATIENCE;
        "sedge-cli".clone_into(&mut config.client_id);
        let executor = Arc::new(Executor::new());
        let client = Client::new(Arc::clone(&executor), config);
        async_io::block_on(executor.run(work(client)))
    }
}
