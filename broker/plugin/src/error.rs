//! Errors of preparing and of calling a plugin.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

use crate::world::World;

/// Reason why a plugin cannot be prepared.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are neither WebAssembly nor an artifact.
    NotAComponent,
    /// The bytes are a core module, as compilers make them, instead of a component.
    CoreModule,
    /// The component imports an interface that plugins may not have.
    ForbiddenImport { import: String },
    /// The component imports an interface that only plugins of other worlds may have.
    ImportOfOtherWorld { import: String, world: World },
    /// The component lacks an export that every world requires.
    MissingExport { export: &'static str },
    /// The component exports the interface of no world.
    NoWorld,
    /// The component exports the interfaces of several worlds.
    SeveralWorlds { worlds: [World; 2] },
    /// The component is a plugin of another world.
    OtherWorld { is: World, wanted: World },
    /// The component is larger than its limit.
    ComponentTooLarge { bytes: usize, max: usize },
    /// wasmtime refuses the component.
    Invalid { source: EngineError },
    /// This build has no compiler, and there is no machine code for the component.
    NoMachineCode { component: String },
    /// This build has no compiler.
    NoCompiler,
    /// This build compiles for its own kind of machine only.
    HostOnly { target: &'static str },
    /// There is no compiler backend for this triple.
    UnknownTarget { triple: String },
    /// The artifact is damaged.
    Artifact(ArtifactError),
    /// The artifact's machine code is for another target.
    OtherTarget { is: String, wanted: &'static str },
    /// The machine code was made by another version of the broker, or needs another CPU.
    OtherEngine { source: EngineError },
    /// The artifact is not sealed with a key that this installation trusts.
    Untrusted,
    /// A key file is accessible to others, or holds too few bytes.
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

/// An error of wasmtime, whose own type stays in this crate.
pub struct EngineError(wasmtime::Error);

/// A defect in an artifact's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactError {
    /// The bytes are not an artifact.
    Magic,
    /// This build does not know the version.
    Version(u16),
    /// The artifact is shorter or longer than its fields say.
    Length,
    /// The component does not match the hash.
    Hash,
}

/// Reason why a call failed. The instance is discarded, and the next call gets a new one.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The call computed beyond its deadline.
    Deadline,
    /// The call got no processor until half a second after its deadline.
    Starved,
    /// The plugin needed more memory than its limit.
    Memory,
    /// The plugin needed more memory than is left for all plugins.
    MemoryOfAll,
    /// The plugin panicked, divided by zero, overflowed its stack, or trapped otherwise.
    Trap { what: String },
    /// The plugin's answer breaks the rules.
    BadOutput(BadOutput),
    /// The plugin refused settings that it accepted before.
    Configuration { reason: String },
}

/// A rule that an answer breaks.
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
    PartitionCount {
        got: usize,
        records: usize,
    },
    PartitionOutside {
        chosen: u32,
        partitions: u32,
    },
    /// The answer exceeds the output limit.
    TooMuch,
    /// A pointer or text in the answer is invalid.
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
                "the component imports {import}; a plugin may only import {} ({})",
                listed(World::imports_of_any()),
                cure_of_import(import)
            ),
            Self::ImportOfOtherWorld { import, world } => write!(
                f,
                "the component imports {import}; a {world} may only import {} ({})",
                listed(world.imports()),
                cure_of_other_world(*world)
            ),
            Self::MissingExport { export } => {
                write!(
                    f,
                    "the component does not export {export}, so it is not a plugin"
                )
            }
            Self::NoWorld => write!(
                f,
                "the component exports none of sedge:plugin/filter@0.1, \
                 sedge:plugin/partitioner@0.1 and sedge:plugin/quota@0.1, so it is not a plugin"
            ),
            Self::SeveralWorlds { worlds: [one, two] } => write!(
                f,
                "the component is both a {one} and a {two}; build a component for each"
            ),
            Self::OtherWorld { is, wanted } => {
                write!(f, "the plugin is a {is}, not a {wanted}")
            }
            Self::ComponentTooLarge { bytes, max } => {
                write!(
                    f,
                    "the component has {bytes} bytes, more than the {max} that are allowed"
                )
            }
            Self::Invalid { source } => write!(f, "this is not a valid plugin: {source}"),
            Self::NoMachineCode { component } => write!(
                f,
                "there is no machine code for component {component}, and this build has no plugin \
                 compiler; run `sedge plugin compile --target {}` on another machine and \
                 `sedge plugin import` here",
                crate::config::host_target()
            ),
            Self::NoCompiler => write!(f, "this build has no plugin compiler"),
            Self::HostOnly { target } => write!(
                f,
                "this build compiles for {} only, not for {target}; build with `--features cross`",
                crate::config::host_target()
            ),
            Self::UnknownTarget { triple } => write!(
                f,
                "plugins cannot be compiled for target {triple}; supported are x86_64-, aarch64- \
                 and armv7-…-linux-…"
            ),
            Self::Artifact(error) => write!(f, "the artifact {error}"),
            Self::OtherTarget { is, wanted } => {
                write!(f, "the artifact is for {is}, but this machine is {wanted}")
            }
            Self::OtherEngine { source } => write!(
                f,
                "the machine code was compiled by another version of sedge or for another CPU; \
                 compile it again with this version ({source})"
            ),
            Self::Untrusted => write!(
                f,
                "the artifact is not sealed with a key that this installation trusts; import it on \
                 the device with `sedge plugin import`, or seal it with the key in \
                 plugin.signing.key"
            ),
            Self::BadKey { path, why } => write!(f, "key file {}: {why}", path.display()),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Compiler {
                status: Some(status),
                said,
            } => {
                write!(f, "the compiler exited with {status}: {said}")
            }
            Self::Compiler { status: None, said } => write!(f, "the compiler failed: {said}"),
            Self::Configuration { reason } => {
                write!(f, "the plugin refuses its settings: {reason}")
            }
            Self::Start(error) => write!(f, "the plugin failed at its start: {error}"),
            Self::Engine { source } => write!(f, "the plugin engine failed: {source}"),
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

/// Names interfaces, for people.
fn listed(interfaces: &[&str]) -> String {
    match interfaces {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        all => all.concat(),
    }
}

/// Returns what the author of a plugin of this world can do about an import of other worlds.
const fn cure_of_other_world(world: World) -> &'static str {
    match world {
        World::KeyPartitioner => {
            "partitioners are pure: the same arguments always give the same partitions, so remove \
             the call, or make the plugin a record-filter"
        }
        World::QuotaPolicy => {
            "state belongs to a partition, and is written with its records; a quota policy is asked \
             about requests, so it counts in memory"
        }
        World::RecordFilter => "remove the call that needs it",
    }
}

/// Returns what the author of a plugin can do about an import.
fn cure_of_import(import: &str) -> &'static str {
    if import.starts_with("sedge:plugin/") {
        "of this version: build the plugin again with the wit/ of this version of sedge"
    } else if import.starts_with("wasi:") {
        "no WASI: build Rust for wasm32-unknown-unknown and C with -nostdlib, and give \
         componentize-qjs and componentize-py --stub-wasi"
    } else {
        "remove the call that needs it, or stub it out"
    }
}

/// Includes all causes.
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
            Self::Magic => write!(f, "does not begin with the mark of an artifact"),
            Self::Version(version) => {
                write!(f, "has version {version}, but only version 1 is known")
            }
            Self::Length => write!(f, "is cut off, or has too many bytes"),
            Self::Hash => write!(f, "has another component than its header says"),
        }
    }
}

impl std::error::Error for ArtifactError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => write!(f, "ran longer than its deadline"),
            Self::Starved => write!(
                f,
                "got no processor until half a second after its deadline, because the machine is \
                 too busy"
            ),
            Self::Memory => write!(f, "asked for more memory than its limit"),
            Self::MemoryOfAll => write!(
                f,
                "asked for more memory than is left of plugin.memory.total.bytes for all plugins \
                 together; raise it, or bind plugins to fewer topics"
            ),
            Self::Trap { what } => write!(f, "trapped: {what}"),
            Self::BadOutput(bad) => write!(f, "returned an invalid result: {bad}"),
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
            Self::UnknownVerdict(verdict) => write!(f, "the verdict {verdict} is unknown"),
            Self::ReplacementBytes { got, wanted } => {
                write!(
                    f,
                    "{got} bytes of replacements (16 each) for {wanted} replaced and routed records"
                )
            }
            Self::ReasonCount { got, wanted } => {
                write!(
                    f,
                    "{got} texts instead of {wanted}: a reason for each rejected record, and the \
                     topics of the routed ones"
                )
            }
            Self::ReplacementOutside => write!(f, "a replacement lies outside its blob"),
            Self::PartitionCount { got, records } => {
                write!(f, "{got} partitions for {records} records")
            }
            Self::PartitionOutside { chosen, partitions } => {
                write!(f, "partition {chosen} of a topic that has {partitions}")
            }
            Self::TooMuch => write!(f, "the output is larger than the limit"),
            Self::Malformed { what } => write!(f, "{what}"),
        }
    }
}
