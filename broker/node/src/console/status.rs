//! The state that the console shows, as reported by the broker on each request.

use super::disk::DiskStatus;

/// Reports the broker's state to the console. Called on a thread that may block.
pub trait Source: Send + Sync + 'static {
    /// Returns a snapshot of everything.
    fn status(&self) -> Status;

    /// Returns whether clients are served. An upstream that is down does not count.
    ///
    /// # Errors
    /// The reason, for the operator.
    fn ready(&self) -> Result<(), String>;

    /// Returns warnings for the operator that do not stop clients from being served, one per line:
    /// damage that the next start will find, topics whose filters cannot run.
    fn warnings(&self) -> Vec<String>;
}

/// The broker at one moment.
#[derive(Debug, Default, Clone)]
pub struct Status {
    /// `node.id`.
    pub node_id: i32,
    /// The cluster's identity.
    pub cluster_id: String,
    /// The addresses to which Kafka clients connect.
    pub listeners: Vec<String>,
    /// The data directory.
    pub data: String,
    /// All topics; the page shows the first of them.
    pub topics: Vec<TopicStatus>,
    /// All groups; the page shows the first of them.
    pub groups: Vec<GroupStatus>,
    /// The store.
    pub storage: StorageStatus,
}

/// A topic.
#[derive(Debug, Default, Clone)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Whether the topic is internal.
    pub internal: bool,
    /// Number of partitions.
    pub partitions: u32,
    /// Its `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// Offsets between the log start and the high watermark, of all partitions.
    pub records: u64,
    /// Bytes in the log.
    pub bytes: u64,
    /// Plugins bound to it.
    pub filters: Vec<FilterStatus>,
}

/// A plugin that is bound to a topic.
#[derive(Debug, Default, Clone)]
pub struct FilterStatus {
    /// Its name.
    pub name: String,
    /// Reason why the plugin cannot run, if it cannot.
    pub unready: Option<String>,
}

/// A consumer group.
#[derive(Debug, Default, Clone)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    /// Its state, in Kafka's word.
    pub state: String,
    /// Number of members.
    pub members: usize,
}

/// The store.
#[derive(Debug, Default, Clone)]
pub struct StorageStatus {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of live data among them.
    pub live_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes free on the volume.
    pub free_bytes: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// Bytes of record batches among them.
    pub payload_bytes: u64,
    /// The device that it is on.
    pub disk: DiskStatus,
    /// Places of the log that are known to be damaged.
    pub damaged_places: u64,
    /// Description of a degraded state, if any.
    pub degraded: Option<String>,
}
