//! Bounds of this crate, each with its reason.

use std::time::Duration;

/// Interval at which a running call's deadline is checked. A plugin that hangs holds a thread for
/// its deadline and two ticks; a tick costs one atomic addition and a wake-up, and only while
/// plugins are being called.
pub const TICK: Duration = Duration::from_millis(2);

/// Processor time that a call may use beyond its deadline: half a tick, so that a plugin that
/// computes all the time is stopped at the next tick or the one after it.
pub const OVERTIME: Duration = Duration::from_micros(TICK.as_micros() as u64 / 2);

/// Ticks after a call's deadline at which the call is stopped, even if its thread got no processor:
/// half a second.
pub const OVERTIME_TICKS_MAX: u32 = 250;

/// Most time of a quota policy's decision, in ms, if its own limit is larger. The thread that
/// serves the client calls the policy itself, because handing the call to another thread takes many
/// times as long as the call; so a policy that hangs keeps other clients from being served.
pub const DECISION_MS_MAX: u32 = 20;

/// Ticks without a call after which the ticker goes to sleep. Waking it costs a system call, so it
/// stays awake through the gaps of ordinary traffic.
pub const IDLE_TICKS_MAX: u32 = 100;

/// Bytes of the calling thread's stack that a plugin may use. A thread that calls plugins needs
/// twice that.
pub const WASM_STACK_BYTES_MAX: usize = 256 << 10;

/// Linear memories of a component. Rust and C need one, QuickJS three.
pub const MEMORIES_MAX: usize = 4;

/// Core instances of a component: modules, shims for imports, adapters. Python's has 33 and more,
/// because its libraries are modules of their own.
pub const CORE_INSTANCES_MAX: usize = 64;

/// Tables of a component, and elements of each. Interpreters have some thousand functions.
pub const TABLES_MAX: usize = 16;
pub const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Log lines that an instance may write in a second. Further ones are counted and dropped.
pub const LOG_LINES_PER_SECOND_MAX: u32 = 20;

/// Bytes of the last log lines that are kept for each plugin: some hundred lines, and below the
/// 32 KiB of a text in the older versions of Kafka's protocol.
pub const JOURNAL_BYTES_MAX: usize = 24 << 10;

/// Plugins whose last log lines are kept: more than a broker has in use, and 1.5 MiB at most.
pub const JOURNALS_MAX: usize = 64;

/// Bytes of a key of a plugin's state. A name or an id, not content.
pub const STATE_KEY_BYTES_MAX: usize = 1024;

/// Bytes of a value of a plugin's state. All state is in memory, so it is for sums and last values.
pub const STATE_VALUE_BYTES_MAX: usize = 64 << 10;

/// Bytes that each key counts besides its own and those of its value: an entry of the map, two
/// counted references, and their allocations.
pub const STATE_ENTRY_BYTES: usize = 96;

/// Calls that run behind all other threads after one that computed beyond its deadline. A plugin
/// that never ends at every sixtieth batch, or more often, takes no time from others; one that was
/// slow once has its priority again after so many batches.
pub const CALLS_BEHIND: u32 = 64;

/// Bytes of a metric's name. The broker adds its prefix.
pub const METRIC_NAME_BYTES_MAX: usize = 64;

/// Bytes of a plugin's text for people: a log line, a reason, a refusal.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Bytes a target's name may have in an artifact.
pub const TARGET_BYTES_MAX: usize = 64;

/// Bytes of machine code for each byte of component; the smallest component gets a fixed allowance.
/// Cranelift makes 3 to 8 times as much; more than this limit does not come from a compiler.
pub const CODE_BYTES_PER_COMPONENT_BYTE_MAX: usize = 32;
pub const CODE_BYTES_MIN_ALLOWED: usize = 1 << 20;

/// Time that compiling may take in a child process. The largest known component (Python's
/// interpreter, 18 MB) takes half a minute on two slow cores.
pub const COMPILE_TIME_MAX: Duration = Duration::from_mins(3);

/// Bytes of a key file: a random key, or an operator's in hexadecimal with a line end.
pub const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Smallest operator's key, in bytes. Shorter ones can be guessed.
pub const OPERATOR_KEY_BYTES_MIN: usize = 16;

/// Topics that a filter may route the records of one batch to, and that a topic may declare. Each
/// is a batch more in the commit.
pub const ROUTES_MAX: usize = 16;

/// Resources that a plugin may use. Set for each plugin; these are the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance, all of its memories together, in bytes.
    pub memory_bytes_max: usize,
    /// Time of one call, in ms. Rounded up to the next [`TICK`], and one tick is added.
    pub deadline_ms: u32,
    /// Bytes that one call may answer, and that its replacements may add up to.
    pub output_bytes_max: usize,
    /// Bytes of a component before it is compiled.
    pub component_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Rust and C guests use 1.1 MiB and a few times the largest batch, which is 1 MiB by
            // default.
            memory_bytes_max: 16 << 20,
            // A batch of 1000 records takes 50 us in Rust and 3 ms in JavaScript.
            deadline_ms: 100,
            // The largest default batch, many times over.
            output_bytes_max: 16 << 20,
            // Rust and C components have 20 KB, JavaScript 2 MB, Go 3 MB, Python 19 MB. A third of
            // Python's is code; 8 MiB of nothing but code take as long to compile.
            component_bytes_max: 20 << 20,
        }
    }
}
