//! Bounds of the node, each with its reason.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Stack of a network thread: decoding a request needs most.
pub const NETWORK_STACK_BYTES: usize = 512 << 10;

/// Nice value of threads that work for strangers: they get the time that others leave, and a tenth
/// if they leave none, so that clients can connect to a busy broker.
pub const LOW_PRIORITY_NICE: i32 = 10;

/// Stack of the writer thread: planning does not recurse.
pub const WRITER_STACK_BYTES: usize = 512 << 10;

/// Pending requests of one connection (produce, fetch) before its reader waits. Clients pipeline 5
/// (Java, for idempotence) to 1,000 (librdkafka); a small window keeps memory bounded.
pub const CONNECTION_IN_FLIGHT_MAX: usize = 16;

/// Connections of addresses that open too many, held until they are closed: enough to slow down a
/// few clients that try again. Above it they are closed at once.
pub const CONNECTIONS_PUT_OFF_MAX: usize = 32;

/// First read of a connection: most requests but produces fit, so they cost one system call.
pub const CONNECTION_READ_BYTES: usize = 8 << 10;

/// First bytes of a request for which memory is reserved: a client that stalls has sent as many.
/// With the length, they fill the buffer of the first read.
pub const FRAME_BEGUN_BYTES: usize = CONNECTION_READ_BYTES - 4;

/// Bytes of an answer that are not charged to the pool: each connection has memory for one such
/// answer.
pub const CONNECTION_ANSWER_BYTES: usize = 8 << 10;

/// Memory of a connection on top of what the pools account for: its read buffer, an answer, and the
/// state of its two halves.
pub const CONNECTION_BYTES: usize = CONNECTION_READ_BYTES + CONNECTION_ANSWER_BYTES + (16 << 10);

/// Bytes of a request that are charged and read at once: several times what a socket buffer
/// returns, so that large requests cost few system calls.
pub const REQUEST_PIECE_BYTES: usize = 128 << 10;

/// Steps of the sizes of requests' buffers that are used again: a request is charged with at most
/// this much more than it has.
pub const SPARE_STEP_BYTES: usize = 4 << 10;

/// Bytes of such buffers that are kept, on top of the pool: as many as a few busy connections need.
pub const SPARE_BUFFERS_BYTES: usize = 1 << 20;

/// Size from which a block of memory has pages of its own: most requests are smaller, and need no
/// pages that are mapped and zeroed for them.
pub const MAPPED_BLOCK_BYTES: i32 = 1 << 20;

/// The share of the request pool reserved for small requests, one part in this many: large requests
/// that are half read cannot take it.
pub const SMALL_PART: usize = 8;

/// Time within which a connection that holds memory has to progress while others wait for memory
/// (by the next piece of its request, or by taking its answer); otherwise it is closed.
pub const STALLED_AFTER: Duration = Duration::from_secs(1);

/// How often connections that wait for memory look for a stalled one.
pub const MEMORY_CHECK_EVERY: Duration = Duration::from_millis(100);

/// Smallest size of the answer pool.
pub const ANSWER_BYTES_MIN: usize = 4 << 20;

/// A fetch gets one part in this many of the free answer bytes, so that some are left for the next.
pub const ANSWER_SHARE: usize = 16;

/// Bytes of records that a fetch gathers in memory (batches of small commits), if there is room. A
/// round trip costs little compared to reading this much; a slow consumer holds no more.
pub const FETCH_MEMORY_MAX: usize = 1 << 20;

/// Bytes that a fetch reads from flash into the page cache, per partition: what a card reads in a
/// tenth of a second, so that a slow consumer does not fill the cache with data that it needs much
/// later.
pub const FETCH_COLD_BYTES_MAX: usize = 4 << 20;

/// Capacity of a pipe between segments and a socket: a few times a socket buffer, so that packets
/// are filled across the ends of commits.
pub const PIPE_BYTES: usize = 256 << 10;

/// Pipes at once, of two file descriptors each; further replies are sent without a pipe.
pub const PIPES_MAX: usize = 16;

/// Concurrent reads from disk for clients, each on a thread: as many as a card or an SSD works on
/// in parallel.
pub const DISK_WORK_AT_ONCE: usize = 16;

/// Requests that wait for the writer thread.
pub const WRITER_QUEUE_MAX: usize = 1024;

/// Time that the cleaner waits for the writer to roll a segment, after the commits before it and a
/// flush. If a card takes longer, the next round finds the segment rolled.
pub const ROLL_WAIT_MAX: Duration = Duration::from_secs(30);

/// Commits that wait for a flush: as many as there may be requests that wait for the writer.
pub const SETTLEMENTS_MAX: usize = WRITER_QUEUE_MAX;

/// Requests that go into one commit.
pub const COMMIT_REQUESTS_MAX: usize = 256;

/// Bytes of one commit: enough to outweigh the cost of a flush, little enough for flash and memory.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;

/// A commit of this many bytes does not wait for further requests: the extra pages and the flush
/// cost at most a third of its own bytes.
pub const GATHER_BYTES: usize = 16 << 10;

/// While a flush runs, requests that wait for the next one collect until they have this many bytes:
/// what is written in one piece is read in one piece.
pub const WRITE_AHEAD_BYTES: usize = 64 << 10;

/// Longest time that a small commit waits for further requests, if flushes are slower than this.
pub const GATHER_WAIT_MAX: Duration = Duration::from_millis(2);

/// Flushes over which the number of joined requests and the flush times are averaged.
pub const GATHER_FLUSHES: u32 = 8;

/// How long a controlled shutdown waits for open requests.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Bytes read at once when an internal topic is replayed.
pub const REPLAY_READ_BYTES: usize = 1 << 20;

/// Largest decompressed size of a batch that a filter sees. Bounds decompression bombs.
pub const FILTER_BATCH_BYTES_MAX: usize = 16 << 20;

/// Names in a DescribeConfigs request that are looked at for logs of plugins: each may add 24 KiB
/// to the response, and `sedge plugin logs` asks for one.
pub const PLUGIN_LOGS_MAX: usize = 4;

/// Bytes of a plugin's failure in a header of each dead letter: the trap and its place, and not a
/// multiple of a small record.
pub const DEAD_LETTER_TEXT_BYTES_MAX: usize = 256;

/// Partitions that a partitioner may spread one batch over. Each gets a batch of its own, with a
/// header and a row of the index; the producer may send smaller batches instead.
pub const PARTITIONS_OF_A_BATCH_MAX: usize = 1_000;

/// Bytes of a filter's reasons in the answer to a batch that it rejects; further records are named
/// without a reason. A plugin may give 1 KiB for each record, however small the record is.
pub const REJECTION_TEXT_BYTES_MAX: usize = 64 << 10;

/// Filters named in one answer of `/readyz`, or in one line of the log, because they are not ready.
pub const UNREADY_NAMED_MAX: usize = 20;

/// The ratio of compression that is expected of a batch that a filter of consumers opens, and bytes
/// for small ones: memory is charged for that much first, and for [`FILTER_BATCH_BYTES_MAX`] if the
/// batch has more.
pub const OPENED_RATIO_EXPECTED: usize = 8;
pub const OPENED_BYTES_EXPECTED: usize = 64 << 10;

/// Copies of an open batch: its records, what is shown to the filter, and what is rebuilt.
pub const OPEN_COPIES: usize = 3;

/// Time after which the filters of one fetch begin no further batch; the next fetch continues. A
/// filter that hangs holds a consumer this long, and for the plugin's deadline.
pub const FETCH_SIFT_TIME_MAX: Duration = Duration::from_millis(100);

/// How long a fetch waits of which filters withhold everything, or for as long as the consumer
/// wants to wait: the default of `fetch.max.wait.ms`.
pub const WITHHELD_WAIT_MAX: Duration = Duration::from_millis(500);

/// How long a fetch waits for its turn at a filter, before the consumer is told to ask again.
/// Clients give up after 30 s.
pub const FETCH_TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Threads of the pool for blocking work: reads, flushes, filters, the console.
pub const BLOCKING_THREADS_MAX: NonZeroUsize = NonZeroUsize::new(500).unwrap();

/// Filters that run at once. They only take processor time, so more would finish no sooner; with
/// fewer, some slow filters would delay the quick ones of other topics.
pub const FILTER_RUNS_MAX: usize = 32;

const _: () = assert!(
    FILTER_RUNS_MAX <= BLOCKING_THREADS_MAX.get() / 4,
    "filters leave threads for cold fetches, view flushes and retention"
);

/// Versions of a plugin that are kept beside the one that is deployed. Each has the size of a
/// component.
pub const PLUGIN_VERSIONS_KEPT: usize = 3;

/// How long the failures of a new version of a plugin are counted: long enough for the traffic of
/// some minutes, and short enough that records of a new kind are not the version's fault.
pub const PLUGIN_TRIAL: Duration = Duration::from_mins(5);

/// How often the broker tries to deploy the version before.
pub const PLUGIN_ROLLBACK_TRIES_MAX: u32 = 5;

/// How often the trials are looked at.
pub const PLUGIN_TRIAL_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Counters and gauges that a plugin may show for one topic. An example has three.
pub const PLUGIN_METRICS_MAX: usize = 64;

/// Counters and gauges that a plugin may show for all topics together: some 100 KiB of `/metrics`.
pub const PLUGIN_SERIES_MAX: usize = 1_000;

const _: () = assert!(PLUGIN_METRICS_MAX <= PLUGIN_SERIES_MAX);

/// The share of `queued.max.request.bytes` that batches may take while they wait for one filter.
/// Further batches are refused, and clients retry.
pub const FILTER_WAITING_SHARE: usize = 8;

/// The share that they may take while they wait for all filters: topics without one continue.
pub const FILTERS_WAITING_SHARE: usize = 2;

const _: () = assert!(
    FILTERS_WAITING_SHARE > 1 && FILTER_WAITING_SHARE > FILTERS_WAITING_SHARE,
    "one slow filter leaves room for the others, and all of them for topics without"
);

/// Largest compressed body that is opened on the executor: handing it to another thread costs some
/// 20 us, and zstd takes as long to open it.
pub const INLINE_BODY_BYTES: usize = 32 << 10;

/// Decompressed bytes of such a body: gzip, the slowest, takes a millisecond for them on a small
/// processor. A body with more is opened again off the executor.
pub const INLINE_OPENED_BYTES: usize = 256 << 10;

/// Largest uncompressed body that is checked on the executor: some 100 us.
pub const INLINE_PLAIN_BYTES: usize = 2 << 20;

/// Bodies opened at once off the executor, if there are that many processors: each may hold
/// `sedge_protocol::limits::OPENER_BYTES_MAX`.
pub const OPENERS_MAX: usize = 4;

/// Bytes of records in one fetch response, even if the client asks for more (Kafka's
/// `fetch.max.bytes`).
pub const FETCH_RESPONSE_BYTES_MAX: usize = 55 << 20;

/// Fetch sessions kept (Kafka's `max.incremental.fetch.session.cache.slots`).
pub const FETCH_SESSIONS_MAX: usize = 1_000;

/// Partitions in one page of DescribeTopicPartitions (Kafka's `max.request.partition.size.limit`).
pub const DESCRIBE_PARTITIONS_MAX: i32 = 2_000;

/// How often the disk cap is checked: a device writes little more than a segment in this time, and
/// the cap leaves room for some.
pub const DISK_CAP_CHECK_EVERY: Duration = Duration::from_secs(1);

/// While nothing is committed, one in this many of these checks is made: others may fill the
/// volume, and the cleaner writes too.
pub const DISK_CAP_IDLE_CHECKS: u64 = 60;

/// Default of `sedge.disk.max.bytes`, in percent of the volume's size: the rest is for others and
/// for the file system, which slows down and wears flash when it is full.
pub const DISK_CAP_DEFAULT_PERCENT: u64 = 85;

/// Smallest disk cap, in segments: the active one, one that is being freed, and some data to read.
pub const DISK_CAP_SEGMENTS_MIN: u64 = 4;

/// Smallest disk cap, in segments, if the volume is short of space: the active segment and the next
/// one. With less, produce would be refused until other files release space.
pub const DISK_CAP_VOLUME_SEGMENTS_MIN: u64 = 2;

/// Share of the volume that stays free for others, so that the next segment is begun before its
/// room is gone; on a large volume [`DISK_CAP_SEGMENTS_MIN`] segments.
pub const DISK_CAP_KEPT_SHARE: u64 = 20;

/// Pause between two checks, however much room is needed: meanwhile the deletions of the last one
/// free their space.
pub const DISK_CAP_PAUSE: Duration = Duration::from_millis(50);

/// How often the logbook is updated.
pub const LOGBOOK_ENTER_EVERY: Duration = Duration::from_mins(1);

/// How often the logbook is saved: a power cut loses at most this much time and the bytes written
/// in it.
pub const LOGBOOK_SAVE_EVERY_MS: i64 = 3_600_000;

/// Producer ids that the broker takes from the controller at a time, as Kafka's brokers do.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Idle producers that the writer is told to forget at once: each that it has to look up takes some
/// 50 us of its time.
pub const PRODUCERS_EXPIRED_AT_ONCE: usize = 200;

/// Ranges of offsets that an error names; more would not help.
pub const LOST_RANGES_TOLD: usize = 8;

/// Partitions without a topic, and topics without a record, that one log line names.
pub const ORPHANS_TOLD: usize = 20;

/// Metadata records in one batch of `__cluster_metadata`.
pub const METADATA_BATCH_RECORDS_MAX: usize = 5_000;

/// Bytes of a snapshot of `__cluster_metadata` in one append: flash writes them in some hundredths
/// of a second, for which other appends may have to wait.
pub const SNAPSHOT_APPEND_BYTES: usize = 512 << 10;

/// Pause before writing a snapshot of `__cluster_metadata` again after the disk refused it.
pub const SNAPSHOT_RETRY_EVERY: Duration = Duration::from_secs(10);

/// Pause between damage to `__cluster_metadata` and the snapshot that repairs it: damage next to
/// the first is found within moments, and one snapshot is enough for all of it.
pub const SNAPSHOT_MEND_PAUSE: Duration = Duration::from_secs(2);

/// Free segments on the volume before one is rolled for a snapshot's second copy: a snapshot must
/// not fill the disk.
pub const SNAPSHOT_FREE_SEGMENTS_MIN: u64 = 3;

/// Size from which `__consumer_offsets` is trimmed to its live records: days of commits of a few
/// consumers.
pub const COORDINATOR_LOG_BYTES_MIN: u64 = 1 << 20;

/// Growth, as a multiple of the live records, before it is trimmed again.
pub const COORDINATOR_LOG_GROWTH_MAX: u64 = 4;

/// Bytes of one batch of `__consumer_offsets` before its last record, which may be that of a large
/// group.
pub const COORDINATOR_BATCH_BYTES: usize = 256 << 10;

/// Client ids that one kind of warning names. A client that exceeds this generates its ids.
pub const TOLD_NAMES_MAX: usize = 64;

/// Characters of a client id in a warning.
pub const TOLD_NAME_CHARS: usize = 80;

/// Bytes of one append to `__consumer_offsets` before its last record. Pending records, and the
/// records that a trim writes again, are split into such appends.
pub const COORDINATOR_APPEND_BYTES: usize = 4 << 20;

/// Bytes that the scrub reads at once: a burst that a concurrent reader does not notice.
pub const SCRUB_STEP_BYTES: u64 = 512 << 10;

/// How often the scrub checks, between its rounds, whether a read reported damage in a segment.
pub const SCRUB_REST_CHECK: Duration = Duration::from_secs(5);

/// How often pending view updates are flushed. After a crash, later ones are replayed, which is
/// quick.
pub const VIEWS_FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How often files that wait for reuse are looked at, and a disk that refused writes is asked
/// again.
pub const SPARES_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Batches that a lookup by time opens in vain because no record has the time that the header
/// claims. One is normal, if the log start lies in it; more come from producers that wrote a wrong
/// header, and take some milliseconds each.
pub const TIME_LOOKUP_BATCHES_MAX: usize = 1_000;

/// Partitions with data that a fetch reads on the executor: each may ask the index, some 50 us.
pub const FETCH_PARTITIONS_AT_ONCE: usize = 8;

/// A connection that moved a byte within this time keeps its place when all are taken. New
/// connections get this long to send their first bytes, however many connect.
pub const CONNECTION_STAYS_FOR: Duration = Duration::from_secs(1);

/// Strangers that moved a byte a moment ago keep one place in this many while new connections
/// arrive. With the default of `max.connections`, a flood of 2,000 connections a second leaves each
/// an eighth of a second for its handshake, and three quarters of the places to served clients.
pub const STRANGERS_SHARE: usize = 4;

/// How long a new connection waits for the closing of the one whose place it takes, which normally
/// takes some microseconds.
pub const CLOSING_WAIT: Duration = Duration::from_secs(1);

/// Most characters of a principal or a resource name in a line of the audit log; enough for any
/// topic name.
pub const AUDIT_NAME_CHARS: usize = 256;

/// Time limit of a SASL login, after the TLS handshake.
pub const AUTHENTICATION_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of a SCRAM nonce: 144 bits, which are 24 letters.
pub const SCRAM_NONCE_BYTES: usize = 18;

/// Time limit of a TLS handshake. A client behind a slow radio link needs two seconds.
pub const TLS_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Most bytes that a client may send before its handshake is complete. A chain of four large
/// certificates takes 8 KiB, and as much again inside a ticket.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 32 << 10;

/// Bytes that are read from a segment and encrypted at once when memory is short. A connection
/// already reserves this much for an answer.
pub const TLS_PIECE_BYTES_MIN: usize = CONNECTION_ANSWER_BYTES;

/// Bytes that are read from a segment and encrypted at once when memory is available: four TLS
/// records, to save system calls.
pub const TLS_PIECE_BYTES_MAX: usize = 64 << 10;

/// Bytes that one answer encrypts before others have their turn on the thread: 0.16 ms, by the 0.6
/// CPU s a GB of a fetch over TLS. A turn costs a wake-up of another thread, which may take the
/// answer over.
pub const TLS_TURN_BYTES: usize = 256 << 10;

/// Bytes of plaintext in a full record.
pub const TLS_RECORD_PLAIN_BYTES: usize = 16 << 10;

/// Longest encrypted record (RFC 5246, 6.2.3): its header, 16 KiB, and what encryption may add.
pub const TLS_RECORD_BYTES_MAX: usize = 5 + (16 << 10) + 2_048;

/// Encrypted bytes that a thread receives and decrypts at once: a request of 64 KiB and the first
/// record of the next one, in six records.
pub const TLS_READ_BYTES: usize = 6 * TLS_RECORD_BYTES_MAX;

/// Additional memory of a connection with TLS: a record that is incomplete, what its read buffer is
/// larger, and encrypted bytes that are not sent yet. The session is among the state of the halves.
pub const TLS_CONNECTION_BYTES: usize =
    TLS_RECORD_BYTES_MAX + (TLS_RECORD_PLAIN_BYTES - CONNECTION_READ_BYTES) + TLS_PIECE_BYTES_MIN;

const _: () = assert!(
    2 * TLS_HANDSHAKE_BYTES_MAX <= CONNECTION_BYTES + TLS_CONNECTION_BYTES,
    "what a client sends in its handshake, as bytes and as a message, has the connection's own memory"
);

/// Largest certificate file. A bundle of all public CAs has 250 KB.
pub const TLS_FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files in a directory of certificates.
pub const TLS_DIRECTORY_FILES_MAX: usize = 1_000;

/// Most PBKDF2 iterations of a password. OpenSSL and Java write some thousands; ten million take a
/// small processor half a minute.
pub const TLS_PASSWORD_ROUNDS_MAX: u32 = 10_000_000;

/// Time between two checks of the certificate files for changes. A check takes a few system calls.
pub const TLS_FILES_CHECK_EVERY: Duration = Duration::from_secs(5);

/// Interval at which the file of keys that verify tokens is checked for a change.
pub const JWKS_FILE_CHECK_EVERY: Duration = Duration::from_secs(5);

/// Shortest time between two loads of these keys that tokens with unknown keys cause: anyone can
/// make up such a token.
pub const JWKS_ASKED_EVERY: Duration = Duration::from_secs(10);

/// Time within which a server must answer with these keys.
pub const JWKS_FETCH_TIME_MAX: Duration = Duration::from_secs(10);

/// Time before the expiry of a certificate from which the log warns, once a day.
pub const TLS_EXPIRY_WARN_SECONDS: i64 = 30 * 86_400;
pub const TLS_EXPIRY_WARN_EVERY: Duration = Duration::from_hours(24);

/// Largest answer of a console that a command reads, in bytes.
pub const SCRAPE_BYTES_MAX: u64 = 4 << 20;

/// Time for a console to answer a command.
pub const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);

/// Time in which a device takes the next piece of an update.
pub const DEVICE_SILENCE_MAX: Duration = Duration::from_mins(1);

/// Time for a device's answer to an update: longer than its console waits for the device's init.
pub const DEVICE_ANSWER_TIME_MAX: Duration = Duration::from_mins(6);

/// Time for the trial of an updated slot: the device ends it after twelve minutes, and then needs
/// to start again.
pub const TRIAL_WAIT_MAX: Duration = Duration::from_mins(25);

/// Time between two looks at a device on trial.
pub const TRIAL_ASKED_EVERY: Duration = Duration::from_secs(2);

/// Files of a plugin's project that `sedge plugin dev` watches. A project has some dozens; more are
/// a folder that was not meant.
pub const WATCHED_FILES_MAX: usize = 10_000;

/// How often `sedge plugin dev` looks for changes: soon enough for a person.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Series of all metrics that clients push: a few hundred bytes each. A Java client with all of its
/// metrics has about a hundred.
pub const CLIENT_SERIES_MAX: usize = 2_000;

/// Series of one client.
pub const CLIENT_SERIES_OF_ONE_MAX: usize = 500;

/// Bytes of the labels of one such series: names of metrics have up to seventy, and a client's id
/// and its instance's about as many.
pub const CLIENT_LABEL_BYTES_MAX: usize = 1_024;

/// Bytes that a push of metrics may decompress to. Text compresses to a tenth, so that this is more
/// than [`CLIENT_SERIES_OF_ONE_MAX`] series need by far.
pub const TELEMETRY_OPENED_BYTES_MAX: usize = 4 << 20;

const _: () = assert!(TELEMETRY_OPENED_BYTES_MAX >= sedge_core::telemetry::TELEMETRY_BYTES_MAX);

/// Bytes of the name of a subscription to clients' metrics, as many as a topic's may have.
pub const CLIENT_METRICS_NAME_BYTES_MAX: usize = 249;
