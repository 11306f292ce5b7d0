//! A broker without listeners or background tasks, in a directory of its own: for tests inside the
//! node, which call cleaning and expiry themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use futures_lite::future;
use sedge_core::config::BrokerDefaults;
use sedge_core::metadata::MetadataMachine;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{NodeId, PartitionId};
use sedge_storage::{Commit, Entry, LogStore, Recovery as _};

use crate::broker::{Broker, Parts};
use crate::config::{self, Config, Flags};
use crate::coordinator::{self, Coordinators, Journal};
use crate::log::Log;
use crate::log::clock::Clock;
use crate::log::views::HeaderReplay;
use crate::metadata::controller::Controller;
use crate::metrics::Metrics;
use crate::process::runtime::Runtime;
use crate::serve::start::{Opened, Started};
use crate::upkeep::logbook::Logbook;
use crate::writer::{State, Writer};

/// A broker for tests; see the module.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub journal: Journal,
    writer: Option<JoinHandle<()>>,
    /// Settings for the next start.
    pub settings: Vec<(String, String)>,
    directory: Arc<Directory>,
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl TestBroker {
    /// Starts a broker in a new directory, with these settings over the defaults.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sedge-node-{}-{number}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self::open(Arc::new(directory), settings.iter().map(owned).collect())
    }

    /// Stops the broker and starts it on the same directory, with or without its views.
    pub fn restart(mut self, without_views: bool) -> Self {
        self.stop();
        self.broker.log.store.close().unwrap();
        let (directory, settings) = (Arc::clone(&self.directory), self.settings.clone());
        // The lock is released with the last reference to the store.
        drop(self);
        if without_views {
            std::fs::remove_dir_all(directory.0.join("views")).unwrap();
        }
        Self::open(directory, settings)
    }

    fn open(directory: Arc<Directory>, settings: Vec<(String, String)>) -> Self {
        let opened = Opened::read(config(&directory.0, &settings)).unwrap();
        let Started {
            broker,
            journal,
            writer,
            ..
        } = opened.start().unwrap();
        Self {
            broker,
            journal,
            writer: Some(writer),
            settings,
            directory,
        }
    }

    /// Creates a topic with one partition.
    pub fn create_topic(&self, name: &str, configs: &[(&str, &str)]) -> PartitionId {
        let configs = configs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        future::block_on(self.broker.create_topic(name, 1, configs.collect())).unwrap();
        self.partition(name)
    }

    pub fn partition(&self, topic: &str) -> PartitionId {
        let image = self.broker.log.metadata.load();
        let topic = image.topic(topic).unwrap();
        topic.partitions().next().unwrap()
    }

    /// Writes a batch past the handlers and the writer, which refuse batches that no client may
    /// send yet, with the view updates that a start derives from it. Use it only for partitions
    /// that nothing else writes to.
    pub fn write_past(&self, id: PartitionId, mut batch: Batch) {
        let store = &*self.broker.log.store;
        batch
            .header
            .set_base_offset(store.bounds(id).unwrap().next_offset);
        let next = batch.header.next_offset();
        let append_ms = self.broker.log.clock.append_ms();
        let updates =
            HeaderReplay::default().replay(store, id, std::slice::from_ref(&batch), append_ms);
        let commit = Commit {
            entries: vec![Entry::Append {
                partition: id,
                batches: vec![batch],
            }],
            updates,
            append_ms,
        };
        store.append(commit).unwrap();
        store.sync().unwrap();
        let partition = self.broker.log.partition(id).unwrap();
        partition.publish_high_watermark(next);
        partition.publish_last_stable_offset(next);
    }

    fn stop(&mut self) {
        if let Some(writer) = self.writer.take() {
            future::block_on(self.broker.writer.stop());
            writer.join().unwrap();
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns a broker on any store, and the writer's state: no writer thread runs.
pub fn on_store(store: Arc<dyn LogStore>) -> (Arc<Broker>, State) {
    let config = config(Path::new("/nonexistent"), &[]);
    let defaults = BrokerDefaults::new(&config.broker);
    let metadata = MetadataMachine::new(NodeId(config.node_id), defaults);
    let clock = Clock::start(None, None);
    let restored = coordinator::restore(&*store, metadata.image(), clock.now());
    let Coordinators {
        groups,
        transactions,
        ..
    } = restored.unwrap();
    let logbook = Logbook::start(&config.data, &config.disk, None, &clock);
    let log = Log::new(
        store,
        metadata.image().clone(),
        clock,
        config.durability,
        Arc::new(Metrics::default()),
    );
    let broker = Broker::new(Parts {
        cluster_id: "test".to_owned(),
        runtime: Runtime::start(1).unwrap(),
        log: Arc::new(log),
        logbook,
        groups,
        transactions,
        writer: Writer::new().0,
        config,
    });
    let state = State::new(Controller::new(metadata));
    (Arc::new(broker), state)
}

fn config(data: &Path, settings: &[(String, String)]) -> Config {
    let own = [
        ("log.dirs".to_owned(), data.display().to_string()),
        ("sedge.console".to_owned(), "off".to_owned()),
    ];
    let flags = Flags {
        file: None,
        values: own.into_iter().chain(settings.iter().cloned()).collect(),
    };
    config::load(&flags).unwrap()
}
