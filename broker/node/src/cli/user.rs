//! `sedge security user`: users with SCRAM credentials in the data directory of a stopped broker.
//! On a running one, `kafka-configs --entity-type users` sets them.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ring::rand::{SecureRandom as _, SystemRandom};
use sedge_core::config::BrokerDefaults;
use sedge_core::machine::Machine as _;
use sedge_core::metadata::{
    Command, CommandReply, CredentialChange, METADATA_PARTITION, MetadataMachine,
};
use sedge_core::security::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN};
use sedge_core::security::scram::{Credential, Mechanism, salt_text};
use sedge_protocol::ids::NodeId;
use sedge_storage::{Entry, LogStore as _, Store, Urgency};
use zeroize::Zeroizing;

use super::data::{DataFlags, store_failure};
use super::doctor::metadata_repair::Direct;
use crate::log::clock::Clock;
use crate::log::views::HeaderReplay;
use crate::metadata::log as metadata_log;
use crate::metadata::replay;
use crate::metadata::snapshot;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};
use crate::serve::start::{self, ServeError};

/// Longest password; the rest of a longer line is not read.
const PASSWORD_BYTES_MAX: u64 = 1 << 10;

/// Users with passwords, in the data directory of a stopped broker.
#[derive(Debug, Args)]
pub struct UserCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Give a user a password, which is read from a file or the standard input
    Add(Add),
    /// List the users and their mechanisms
    List(List),
    /// Take a user's password away
    Remove(Remove),
}

#[derive(Debug, Args)]
struct Add {
    /// Name of the user
    name: String,
    /// File whose first line is the password [default: the standard input]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Mechanism that takes the password, as often as there are [default: both]
    #[arg(long, value_name = "NAME")]
    mechanism: Vec<MechanismName>,
    /// Rounds of the password's hash
    #[arg(long, value_name = "COUNT", default_value_t = SCRAM_ITERATIONS_MIN,
        value_parser = clap::value_parser!(i32)
            .range(i64::from(SCRAM_ITERATIONS_MIN)..=i64::from(SCRAM_ITERATIONS_MAX)))]
    iterations: i32,
    #[command(flatten)]
    data: DataFlags,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    data: DataFlags,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

#[derive(Debug, Args)]
struct Remove {
    /// Name of the user
    name: String,
    /// Mechanism that no longer takes the password, as often as there are [default: all]
    #[arg(long, value_name = "NAME")]
    mechanism: Vec<MechanismName>,
    #[command(flatten)]
    data: DataFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MechanismName {
    #[value(name = "SCRAM-SHA-256")]
    Sha256,
    #[value(name = "SCRAM-SHA-512")]
    Sha512,
}

impl MechanismName {
    const fn mechanism(self) -> Mechanism {
        match self {
            Self::Sha256 => Mechanism::Sha256,
            Self::Sha512 => Mechanism::Sha512,
        }
    }

    /// Returns the mechanisms of these names; without names, all.
    fn all_of(names: &[Self]) -> Vec<Mechanism> {
        let mut named: Vec<Mechanism> = names.iter().map(|name| name.mechanism()).collect();
        if named.is_empty() {
            named.extend(Mechanism::EACH);
        }
        named.sort();
        named.dedup();
        named
    }
}

impl UserCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The data directory is in use, or cannot be read or written.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Add(add) => add.run(),
            Verb::List(list) => list.run(),
            Verb::Remove(remove) => remove.run(),
        }
    }
}

impl Add {
    fn run(&self) -> Result<(), Failure> {
        let password = self.password()?;
        let mut stopped = Stopped::open(&self.data)?;
        for mechanism in MechanismName::all_of(&self.mechanism) {
            let credential =
                Credential::of_password(mechanism, &password, salt()?, self.iterations)
                    .map_err(usage)?;
            stopped.change(CredentialChange {
                user: self.name.clone(),
                mechanism,
                credential: Some(credential),
            })?;
        }
        stopped.close()
    }

    /// Returns the first line of the file, or of the standard input.
    fn password(&self) -> Result<Zeroizing<String>, Failure> {
        let (place, source): (String, Box<dyn Read>) = match &self.password_file {
            None => ("the standard input".into(), Box::new(std::io::stdin())),
            Some(path) => {
                let opened = std::fs::File::open(path)
                    .map_err(|error| Failure::io(&format!("open {}", path.display()), &error))?;
                (path.display().to_string(), Box::new(opened))
            }
        };
        let mut line = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX as usize + 1));
        BufReader::new(source.take(PASSWORD_BYTES_MAX + 1))
            .read_line(&mut line)
            .map_err(|error| Failure::io(&format!("read the password of {place}"), &error))?;
        let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
        if password.is_empty() {
            return Err(usage(&format!("the first line of {place} has no password")));
        }
        if password.len() as u64 > PASSWORD_BYTES_MAX {
            return Err(usage(&format!(
                "the password is longer than {PASSWORD_BYTES_MAX} bytes"
            )));
        }
        Ok(password)
    }
}

fn salt() -> Result<Vec<u8>, Failure> {
    let mut random = [0; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Failure::new(Exit::Software, "the operating system has no randomness"))?;
    Ok(salt_text(&random).into_bytes())
}

fn usage(why: &str) -> Failure {
    Failure::new(Exit::Usage, why)
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let stopped = Stopped::open(&self.data)?;
        let mut table = Table::new(&["user", "mechanism", "iterations"]);
        for (user, credential) in stopped.machine.image().users().iter() {
            table.row([
                user.to_string().into(),
                credential.mechanism.name().into(),
                i64::from(credential.iterations).into(),
            ]);
        }
        stopped.close()?;
        table.print(self.output)
    }
}

impl Remove {
    fn run(&self) -> Result<(), Failure> {
        let mut stopped = Stopped::open(&self.data)?;
        let wanted = MechanismName::all_of(&self.mechanism);
        let users = stopped.machine.image().users();
        let found = users.of_user(&self.name).map(|of| of.mechanism);
        let found: Vec<Mechanism> = found.filter(|of| wanted.contains(of)).collect();
        if found.is_empty() {
            let why = format!("there is no user {:?} of these mechanisms", self.name);
            return Err(Failure::new(Exit::Unavailable, why));
        }
        for mechanism in found {
            stopped.change(CredentialChange {
                user: self.name.clone(),
                mechanism,
                credential: None,
            })?;
        }
        stopped.close()
    }
}

/// The metadata of a broker that does not run.
struct Stopped {
    store: Store,
    machine: MetadataMachine,
    clock: Clock,
    append_ms: i64,
}

impl Stopped {
    /// Opens the data directory; a new one, if there is none yet.
    fn open(data: &DataFlags) -> Result<Self, Failure> {
        let config = data.config()?;
        std::fs::create_dir_all(&config.data).map_err(|source| ServeError::Directory {
            path: config.data.clone(),
            source,
        })?;
        let mut replay = HeaderReplay::default();
        let (store, opened) =
            sedge_storage::open(&config.data, start::options(&config), &mut replay)
                .map_err(|error| store_failure(&error))?;
        let defaults = BrokerDefaults::new(&config.broker);
        let blank = MetadataMachine::new(NodeId(config.node_id), defaults);
        let replayed = replay::replay(&store, blank).map_err(ServeError::Metadata)?;
        let append_ms = opened.newest_append_ms.unwrap_or_default();
        replayed
            .extend_log(&store, append_ms)
            .map_err(|error| store_failure(&error))?;
        Ok(Self {
            store,
            machine: replayed.machine,
            clock: Clock::start(None, opened.newest_append_ms),
            append_ms,
        })
    }

    /// Writes a change as the controller of a running broker would.
    fn change(&mut self, change: CredentialChange) -> Result<(), Failure> {
        let command = Command::AlterUserScramCredentials {
            changes: vec![change],
        };
        let now = self.clock.now();
        let planned = self.machine.plan(now, command);
        let plan = planned.map_err(|error| usage(&error.message))?;
        if let CommandReply::CredentialsAltered(results) = plan.reply {
            let refused = results.into_iter().find_map(|(_, result)| result.err());
            if let Some(error) = refused {
                return Err(usage(&error.message));
            }
        }
        let failed = |error| store_failure(&error);
        let base = self.store.bounds(METADATA_PARTITION).map_err(failed)?;
        let batches = metadata_log::batches(&plan.records, now.wall_ms).collect();
        let batches = snapshot::patched(batches, base.next_offset);
        let direct = Direct {
            store: &self.store,
            append_ms: self.append_ms,
            urgency: Urgency::Command,
        };
        let entry = Entry::Append {
            partition: METADATA_PARTITION,
            batches,
        };
        direct.commit(vec![entry]).map_err(failed)?;
        for record in &plan.records {
            self.machine.apply(base.next_offset, record);
        }
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        self.store.close().map_err(|error| store_failure(&error))
    }
}
