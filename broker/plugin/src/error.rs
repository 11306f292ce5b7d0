//! What can go wrong with a plugin: making it ready, and calling it.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

/// Why a plugin cannot be made ready.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Not WebAssembly and not one of our artifacts.
    NotAComponent,
    /// A core module, as compilers make them, instead of a component.
    CoreModule,
    /// It imports what no plugin may have.
    ForbiddenImport { import: String },
    /// It lacks what its world asks for.
    MissingExport { export: &'static str },
    /// Larger than its limit.
    ComponentTooLarge { bytes: usize, max: usize },
    /// wasmtime refuses the component.
    Invalid { source: EngineError },
    /// This build has no compiler, and there is no machine code for the component.
    NoMachineCode { component: String },
    /// This build has no compiler.
    NoCompiler,
    /// This build compiles for its own kind of machine only.
    HostOnly { target: &'static str },
    /// Plugins cannot be compiled for this triple.
    UnknownTarget { triple: String },
    /// The artifact is damaged.
    Artifact(ArtifactError),
    /// The artifact's machine code is for something else.
    OtherTarget { is: String, wanted: &'static str },
    /// The machine code was made by another version of the broker, or needs a CPU that is not this
    /// one.
    OtherEngine { source: EngineError },
    /// The artifact has not been sealed with a key that this installation trusts.
    Untrusted,
    /// A key file that others may read or write, or that holds too little.
    BadKey { path: PathBuf, why: &'static str },
    /// A file could not be read or written.
    File { path: PathBuf, source: io::Error },
    /// The compiler's process failed.
    Compiler {
        status: Option<ExitStatus>,
        said: String,
    },
    /// The plugin refuses its settings.
    Configuration { reason: String },
    /// The plugin failed while it was being started.
    Start(CallError),
    /// The engine could not be set up.
    Engine { source: EngineError },
    /// A thread or a process could not be started.
    Spawn { source: io::Error },
}

/// What wasmtime said. Its own type stays in this crate.
pub struct EngineError(wasmtime::Error);

/// What is wrong with an artifact's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactError {
    /// Not an artifact at all.
    Magic,
    /// Of a version that this build does not know.
    Version(u16),
    /// Shorter or longer than its fields say.
    Length,
    /// Its component is not the one that its hash names.
    Hash,
}

/// Why a call failed. The instance is gone, and the next call gets a new one.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// It ran longer than its deadline.
    Deadline,
    /// It wanted more memory than its limit.
    Memory,
    /// It panicked, divided by zero, overflowed its stack, or the like.
    Trap { what: String },
    /// Its answer is against the rules.
    BadOutput(BadOutput),
    /// It refused the settings that it accepted before.
    Configuration { reason: String },
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadOutput {
    VerdictCount {
        got: usize,
        records: usize,
    },
    UnknownVerdict(u8),
    ReplacementBytes {
        got: usize,
        wanted: usize,
    },
    ReasonCount {
        got: usize,
        wanted: usize,
    },
    ReplacementOutside,
    /// More than the output limit.
    TooMuch,
    /// Pointers or texts that are not what they say.
    Malformed {
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAComponent => write!(f, "this is not a WebAssembly component"),
            Self::CoreModule => write!(
                f,
                "this is a core module, not a component; `sedge plugin build` makes components"
            ),
            Self::ForbiddenImport { import } => write!(
                f,
                "it imports {import}; a plugin may import sedge:plugin/log@0.1 and nothing else \
                 (no WASI: build for wasm32-unknown-unknown, or stub it out)"
            ),
            Self::MissingExport { export } => {
                write!(
                    f,
                    "it does not export {export}, so it is not a record-filter"
                )
            }
            Self::ComponentTooLarge { bytes, max } => {
                write!(f, "it has {bytes} bytes, and {max} are allowed")
            }
            Self::Invalid { source } => write!(f, "it is not a valid plugin: {source}"),
            Self::NoMachineCode { component } => write!(
                f,
                "no machine code for component {component}, and this build has no compiler; run \
                 `sedge plugin compile --target {}` elsewhere and `sedge plugin import` here",
                crate::config::host_target()
            ),
            Self::NoCompiler => write!(f, "this build has no compiler for plugins"),
            Self::HostOnly { target } => write!(
                f,
                "this build compiles for {} only, not for {target}; build with `--features cross`",
                crate::config::host_target()
            ),
            Self::UnknownTarget { triple } => write!(
                f,
                "no plugins for target {triple}; known are x86_64-, aarch64- and \
                 armv7-…-linux-…"
            ),
            Self::Artifact(error) => write!(f, "the artifact {error}"),
            Self::OtherTarget { is, wanted } => {
                write!(f, "the artifact is for {is}, and this machine is {wanted}")
            }
            Self::OtherEngine { source } => write!(
                f,
                "the machine code was made by another version of sedge or for another CPU; \
                 compile it again with this version ({source})"
            ),
            Self::Untrusted => write!(
                f,
                "nobody this installation trusts has sealed the artifact; import it on the device \
                 with `sedge plugin import`, or seal it with the key in plugin.signing.key"
            ),
            Self::BadKey { path, why } => write!(f, "key file {}: {why}", path.display()),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Compiler {
                status: Some(status),
                said,
            } => {
                write!(f, "the compiler ended with {status}: {said}")
            }
            Self::Compiler { status: None, said } => write!(f, "the compiler: {said}"),
            Self::Configuration { reason } => write!(f, "it refuses its settings: {reason}"),
            Self::Start(error) => write!(f, "it failed when it was started: {error}"),
            Self::Engine { source } => write!(f, "the plugin engine: {source}"),
            Self::Spawn { source } => write!(f, "cannot start a thread or process: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Spawn { source } => Some(source),
            Self::Start(source) => Some(source),
            Self::Artifact(source) => Some(source),
            _ => None,
        }
    }
}

impl Error {
    pub(crate) fn invalid(source: wasmtime::Error) -> Self {
        let source = EngineError(source);
        Self::Invalid { source }
    }

    pub(crate) fn other_engine(source: wasmtime::Error) -> Self {
        let source = EngineError(source);
        Self::OtherEngine { source }
    }

    pub(crate) fn engine(source: wasmtime::Error) -> Self {
        let source = EngineError(source);
        Self::Engine { source }
    }
}

/// With all of its causes.
impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl fmt::Debug for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "does not begin like one"),
            Self::Version(version) => write!(f, "is of version {version}, and 1 is known"),
            Self::Length => write!(f, "is cut off or has bytes too many"),
            Self::Hash => write!(f, "holds another component than it says"),
        }
    }
}

impl std::error::Error for ArtifactError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => write!(f, "ran longer than its deadline"),
            Self::Memory => write!(f, "wanted more memory than its limit"),
            Self::Trap { what } => write!(f, "trapped: {what}"),
            Self::BadOutput(bad) => write!(f, "answered against the rules: {bad}"),
            Self::Configuration { reason } => write!(f, "refused its settings: {reason}"),
        }
    }
}

impl std::error::Error for CallError {}

impl fmt::Display for BadOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VerdictCount { got, records } => {
                write!(f, "{got} verdicts for {records} records")
            }
            Self::UnknownVerdict(verdict) => write!(f, "unknown verdict {verdict}"),
            Self::ReplacementBytes { got, wanted } => {
                write!(
                    f,
                    "{got} bytes of replacements (16 each) for {wanted} replaced records"
                )
            }
            Self::ReasonCount { got, wanted } => {
                write!(f, "{got} reasons for {wanted} rejected records")
            }
            Self::ReplacementOutside => write!(f, "a replacement outside its blob"),
            Self::TooMuch => write!(f, "more output than the limit"),
            Self::Malformed { what } => write!(f, "{what}"),
        }
    }
}
