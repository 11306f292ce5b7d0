//! Every bound of the node, with its reason.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Stack of a network thread: the deepest is the decoding of a request.
pub const NETWORK_STACK_BYTES: usize = 512 << 10;

/// Stack of the writer thread: planning recurses nowhere.
pub const WRITER_STACK_BYTES: usize = 512 << 10;

/// Requests of one connection that are answered later (produce, fetch): behind them its reader
/// waits. Clients pipeline 5 (Java, for idempotence) to 1,000 (librdkafka); a small window keeps
/// memory bounded.
pub const CONNECTION_IN_FLIGHT_MAX: usize = 16;

/// First read of a connection: most requests but produces fit, so they cost one system call.
pub const CONNECTION_READ_BYTES: usize = 8 << 10;

/// An answer of so many bytes is charged to no pool: each connection has memory for one.
pub const CONNECTION_ANSWER_BYTES: usize = 8 << 10;

/// What a connection holds besides what the pools have: its read buffer, an answer, and the state
/// of its two halves.
pub const CONNECTION_BYTES: usize = CONNECTION_READ_BYTES + CONNECTION_ANSWER_BYTES + (16 << 10);

/// Bytes of a request that are charged and read at once: several times what a socket's buffer
/// gives, so that large requests cost few system calls.
pub const REQUEST_PIECE_BYTES: usize = 128 << 10;

/// The share of the pool of requests that is for small ones, one in so many: what is half read does
/// not take it.
pub const SMALL_PART: usize = 8;

/// While others wait for memory, a connection that has it moves on within this time (with the next
/// piece of its request, or with taking its answer), or is closed.
pub const STALLED_AFTER: Duration = Duration::from_secs(1);

/// How often those that wait for memory look whether a connection stands.
pub const MEMORY_CHECK_EVERY: Duration = Duration::from_millis(100);

/// The pool of answers has at least so many.
pub const ANSWER_BYTES_MIN: usize = 4 << 20;

/// A fetch gets one in so many of the bytes that are free for answers: there is always something
/// left for the next.
pub const ANSWER_SHARE: usize = 16;

/// Bytes of records that a fetch gathers in memory (batches of small commits), where there is room.
/// A round trip costs little beside reading so much; a consumer that is slow holds no more.
pub const FETCH_MEMORY_MAX: usize = 1 << 20;

/// Bytes that a fetch has read from flash into the page cache, of each partition: what a card reads
/// in a tenth of a second, so that a slow consumer does not have the cache filled with what comes
/// to its turn much later.
pub const FETCH_COLD_BYTES_MAX: usize = 4 << 20;

/// What a pipe between segments and a socket holds: a few times a socket's buffer, so that packets
/// are filled over the ends of commits.
pub const PIPE_BYTES: usize = 256 << 10;

/// Pipes at once, of two file descriptors each; further replies are sent without.
pub const PIPES_MAX: usize = 16;

/// Reads for clients that wait for the disk at once, each on a thread: as many as a card or an SSD
/// works on side by side.
pub const DISK_WORK_AT_ONCE: usize = 16;

/// Requests that wait for the writer thread.
pub const WRITER_QUEUE_MAX: usize = 1024;

/// The cleaner waits for the writer to end a segment: for the commits before that, and a flush. On
/// a card that takes longer, the next round finds the segment ended.
pub const ROLL_WAIT_MAX: Duration = Duration::from_secs(30);

/// Requests that go into one commit.
pub const COMMIT_REQUESTS_MAX: usize = 256;

/// Bytes that go into one commit: enough to drown the cost of a flush, little enough for flash and
/// memory.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;

/// A commit of so many bytes waits for nobody: the pages and the flush that it costs beyond its
/// own bytes are a third of it at most.
pub const GATHER_BYTES: usize = 16 << 10;

/// The longest that a small commit waits for others, where flushes are slower than this.
pub const GATHER_WAIT_MAX: Duration = Duration::from_millis(2);

/// Flushes over which company and flush times are smoothed.
pub const GATHER_FLUSHES: u32 = 8;

/// How long a controlled shutdown waits for open requests.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Bytes read at once when an internal topic is replayed.
pub const REPLAY_READ_BYTES: usize = 1 << 20;

/// Largest decompressed size of a batch that a filter sees. A bomb ends here.
pub const FILTER_BATCH_BYTES_MAX: usize = 16 << 20;

/// Bytes of a filter's reasons in the answer to a batch that it rejects; records beyond them are
/// named without. A plugin may give 1 KiB for each record, however small that is.
pub const REJECTION_TEXT_BYTES_MAX: usize = 64 << 10;

/// Filters that are not ready and named in one answer of `/readyz`, or in the log at once.
pub const UNREADY_NAMED_MAX: usize = 20;

/// Threads of the pool for what may block: reads, flushes, filters, the console.
pub const BLOCKING_THREADS_MAX: NonZeroUsize = NonZeroUsize::new(500).unwrap();

/// Filters that run at once. They take processor time and nothing else, so more would end no
/// sooner; with fewer, some slow ones would keep the quick ones of other topics waiting.
pub const FILTER_RUNS_MAX: usize = 32;

const _: () = assert!(
    FILTER_RUNS_MAX <= BLOCKING_THREADS_MAX.get() / 4,
    "filters leave threads for cold fetches, view flushes and retention"
);

/// The share of `queued.max.request.bytes` that batches may take while they wait for one filter.
/// What comes on top is refused, to be sent again.
pub const FILTER_WAITING_SHARE: usize = 8;

/// The share that they may take while they wait for filters at all: what has none goes on.
pub const FILTERS_WAITING_SHARE: usize = 2;

const _: () = assert!(
    FILTERS_WAITING_SHARE > 1 && FILTER_WAITING_SHARE > FILTERS_WAITING_SHARE,
    "one slow filter leaves room for the others, and all of them for topics without"
);

/// Compressed bodies up to this are opened on the executor: handing one over costs some 20 us, and
/// opening it takes zstd as long.
pub const INLINE_BODY_BYTES: usize = 32 << 10;

/// Bytes that may come out of a body there: what gzip, the slowest, takes a millisecond for on a
/// small processor. What has more is opened again elsewhere.
pub const INLINE_OPENED_BYTES: usize = 256 << 10;

/// Bodies that are not compressed are passed over on the executor up to this: some 100 us.
pub const INLINE_PLAIN_BYTES: usize = 2 << 20;

/// Bodies opened at once off the executor, where there are so many processors: each may hold
/// `sedge_protocol::limits::OPENER_BYTES_MAX`.
pub const OPENERS_MAX: usize = 4;

/// Bytes of records in one fetch response, whatever the client asks for (Kafka's
/// `fetch.max.bytes`).
pub const FETCH_RESPONSE_BYTES_MAX: usize = 55 << 20;

/// Fetch sessions kept (Kafka's `max.incremental.fetch.session.cache.slots`).
pub const FETCH_SESSIONS_MAX: usize = 1_000;

/// Partitions in one page of DescribeTopicPartitions (Kafka's `max.request.partition.size.limit`).
pub const DESCRIBE_PARTITIONS_MAX: i32 = 2_000;

/// How often the disk cap is looked at: a device writes little more than a segment in this time,
/// and the cap leaves room for some.
pub const DISK_CAP_CHECK_EVERY: Duration = Duration::from_secs(1);

/// While nothing is committed, every so many of these looks is taken: others may fill the volume,
/// and the cleaner writes too.
pub const DISK_CAP_IDLE_CHECKS: u64 = 60;

/// `sedge.disk.max.bytes` where it is not set, of the volume's size: the rest is for the file
/// system, which slows down and wears flash when it is full, and for others.
pub const DISK_CAP_DEFAULT_PERCENT: u64 = 85;

/// Segments that the disk cap leaves at the least: the active one, one that is being freed, and
/// something to read.
pub const DISK_CAP_SEGMENTS_MIN: u64 = 4;

/// The same where it is the volume that is short: the active segment, and the next one. With less,
/// produce would be refused for as long as others hold the rest.
pub const DISK_CAP_VOLUME_SEGMENTS_MIN: u64 = 2;

/// Share of the volume that stays free for others, and so that the next segment is begun before
/// there is no room for it; on a large one it is [`DISK_CAP_SEGMENTS_MIN`] segments.
pub const DISK_CAP_KEPT_SHARE: u64 = 20;

/// Between two looks, however much room is wanted: what the last one let go comes back meanwhile.
pub const DISK_CAP_PAUSE: Duration = Duration::from_millis(50);

/// How often the logbook is looked at.
pub const LOGBOOK_ENTER_EVERY: Duration = Duration::from_mins(1);

/// How often it is written: what a power cut takes of it is so much time and so many bytes.
pub const LOGBOOK_SAVE_EVERY_MS: i64 = 3_600_000;

/// Producer ids that the broker takes from the controller at once, as Kafka's brokers do.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Silent producers that the writer is told to forget at once: some 50 us of its time for each that
/// it has to look up.
pub const PRODUCERS_EXPIRED_AT_ONCE: usize = 200;

/// Stretches of offsets that an error names; more of them help nobody.
pub const LOST_RANGES_TOLD: usize = 8;

/// Partitions without a topic, and topics that only the memory has, that a line of the log names.
pub const ORPHANS_TOLD: usize = 20;

/// Metadata records in one batch of `__cluster_metadata`.
pub const METADATA_BATCH_RECORDS_MAX: usize = 5_000;

/// Bytes of a snapshot of `__cluster_metadata` in one append: what flash writes in some hundredths
/// of a second, as long as what others produce may have to wait for it.
pub const SNAPSHOT_APPEND_BYTES: usize = 512 << 10;

/// Between two tries to write a snapshot of `__cluster_metadata`, where the disk refuses it.
pub const SNAPSHOT_RETRY_EVERY: Duration = Duration::from_secs(10);

/// Between damage to `__cluster_metadata` and the snapshot that mends it: what lies beside the
/// first damage is found in the next moments, and one snapshot is enough for all of it.
pub const SNAPSHOT_MEND_PAUSE: Duration = Duration::from_secs(2);

/// Segments that there is room for on the volume before one is ended for a snapshot's second copy:
/// a snapshot must not be what fills a disk.
pub const SNAPSHOT_FREE_SEGMENTS_MIN: u64 = 3;

/// Size from which `__consumer_offsets` is trimmed to what it says: days of commits of a few
/// consumers.
pub const COORDINATOR_LOG_BYTES_MIN: u64 = 1 << 20;

/// How many times of what it says it may take up before it is trimmed again.
pub const COORDINATOR_LOG_GROWTH_MAX: u64 = 4;

/// Bytes of one batch of `__consumer_offsets`, before its last record: that of a large group comes
/// on top.
pub const COORDINATOR_BATCH_BYTES: usize = 256 << 10;

/// Client ids that one kind of warning names. More are those of a client that makes them up.
pub const TOLD_NAMES_MAX: usize = 64;

/// Characters of a client id in a warning.
pub const TOLD_NAME_CHARS: usize = 80;

/// Bytes of one append to `__consumer_offsets`, before its last record. Whatever has gathered, and
/// whatever a trim writes again, goes in so many appends.
pub const COORDINATOR_APPEND_BYTES: usize = 4 << 20;

/// Bytes that the scrub reads at once: a burst that a reader beside it does not notice.
pub const SCRUB_STEP_BYTES: u64 = 512 << 10;

/// How often the scrub looks, between its rounds, whether a read has complained of a segment.
pub const SCRUB_REST_CHECK: Duration = Duration::from_secs(5);

/// How often what the views have pending goes to disk. A crash replays what came since, which is
/// quick.
pub const VIEWS_FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Batches that a lookup by time opens in which no record has such a time, though the header says
/// so: one is ordinary, where the log start lies in it; more are of producers that wrote a wrong
/// header, and some milliseconds each.
pub const TIME_LOOKUP_BATCHES_MAX: usize = 1_000;

/// Partitions with data that a fetch looks at on the executor: each may ask the index, some 50 us.
pub const FETCH_PARTITIONS_AT_ONCE: usize = 8;

/// A connection that moved a byte so short ago keeps its place when all are taken. New ones get
/// this long to say something, however many come.
pub const CONNECTION_STAYS_FOR: Duration = Duration::from_secs(1);

/// How long a new connection waits for the one whose place it takes to be closed, which takes some
/// microseconds.
pub const CLOSING_WAIT: Duration = Duration::from_secs(1);
