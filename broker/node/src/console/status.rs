//! What the console shows, as the broker tells it at that moment.

use super::disk::DiskStatus;

/// Tells the console how things stand. It is asked on a thread that may block.
pub trait Source: Send + Sync + 'static {
    /// A snapshot of everything.
    fn status(&self) -> Status;

    /// Whether clients are served; if not, why. An upstream that is down is no reason.
    ///
    /// # Errors
    /// The reason, for whoever operates the broker.
    fn ready(&self) -> Result<(), String>;

    /// What needs somebody though clients are served, a line each: damage that the next start will
    /// meet, topics whose filters cannot run.
    fn warnings(&self) -> Vec<String>;
}

/// The broker at one moment.
#[derive(Debug, Default, Clone)]
pub struct Status {
    /// `node.id`.
    pub node_id: i32,
    /// The cluster's identity.
    pub cluster_id: String,
    /// Where Kafka clients connect.
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
    /// Whether it is the broker's own.
    pub internal: bool,
    /// How many partitions.
    pub partitions: u32,
    /// Offsets between the log start and the high watermark, of all partitions.
    pub records: u64,
    /// Bytes in the log.
    pub bytes: u64,
    /// Plugins bound to it.
    pub filters: Vec<FilterStatus>,
}

/// A plugin that a topic is bound to.
#[derive(Debug, Default, Clone)]
pub struct FilterStatus {
    /// Its name.
    pub name: String,
    /// Why it cannot run, if it cannot.
    pub unready: Option<String>,
}

/// A consumer group.
#[derive(Debug, Default, Clone)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Kafka's word for its state.
    pub state: String,
    /// How many members.
    pub members: usize,
}

/// The store.
#[derive(Debug, Default, Clone)]
pub struct StorageStatus {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of them that are still needed.
    pub live_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes free on the volume.
    pub free_bytes: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// Bytes of record batches among them.
    pub payload_bytes: u64,
    /// The device under it.
    pub disk: DiskStatus,
    /// Places of the log that are known to be damaged.
    pub damaged_places: u64,
    /// What is wrong with it, if something is.
    pub degraded: Option<String>,
}
