//! How commands reach a broker: by the Kafka protocol, like any client.

use std::sync::Arc;
use std::time::Duration;

use async_executor::Executor;
use clap::Args;
use sedge_protocol::ErrorCode;

use super::Failure;
use super::failure::Exit;
use super::output::Output;
use crate::client::{self, Client, ClientConfig};

/// How long a command tries: a person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which broker, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// The broker to ask
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap_server: String,
    /// How results are printed
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
    /// The address is none, or the work fails.
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

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        use client::Error;
        let exit = match &error {
            Error::Address(_) => Exit::Usage,
            Error::Broker { code, .. } => exit_of(*code),
            Error::Malformed { .. }
            | Error::NotKafka
            | Error::TooLarge { .. }
            | Error::Missing { .. } => Exit::Data,
            Error::Unwritable { .. } => Exit::Software,
            Error::Itself => Exit::Config,
            Error::Connect { .. }
            | Error::Io(_)
            | Error::Closed
            | Error::Timeout { .. }
            | Error::Unsupported { .. }
            | Error::NoBroker(_) => Exit::Unavailable,
        };
        let failure = Self::new(exit, error.to_string());
        match error {
            Error::Connect { .. } => failure.advise(
                "Is a broker running there? Start one with `sedge serve`, or name another with --bootstrap-server",
            ),
            _ => failure,
        }
    }
}

fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::GroupIdNotFound
        | ErrorCode::UnknownTopicId => Exit::Unavailable,
        ErrorCode::TopicAlreadyExists => Exit::CannotCreate,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => Exit::Permission,
        ErrorCode::KafkaStorageError => Exit::Io,
        code if code.is_retriable() => Exit::Temporary,
        _ => Exit::Data,
    }
}
