//! The deployed plugins: the newest component of each name, ready to be instantiated.
//!
//! A short-lived child process of the same binary compiles a component. Its machine code is stored
//! under the installation's seal.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sedge_plugin::{
    CodeCache, Engine, Error, Journal, Limits, MemoryPool, Plugin, SealKey, World, inspect_deployed,
};
use sedge_protocol::ids::{Offset, PartitionId};

use super::trial::Trial;
use crate::config::Config;

/// The place in `__sedge_plugins` at which a component was deployed. Partition ids are not reused,
/// so the place identifies the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: PartitionId,
    pub offset: Offset,
}

/// A deployed plugin, or the reason why it cannot run.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub place: Place,
    pub plugin: Result<Plugin, Arc<str>>,
    pub trial: Arc<Trial>,
    /// The plugin is not called. All deployments of a name share this.
    is_paused: Arc<AtomicBool>,
}

impl Deployed {
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }
}

/// The deployed plugins. The engine is created with the first of them.
#[derive(Debug)]
pub struct Registry {
    cache_directory: PathBuf,
    signing_key: Option<PathBuf>,
    limits: Limits,
    /// The memory that all instances share.
    pub memory: Arc<MemoryPool>,
    /// The last lines that plugins logged.
    pub journal: Arc<Journal>,
    runtime: OnceLock<Runtime>,
    starting: Mutex<()>,
    deployed: RwLock<HashMap<String, Deployed>>,
    /// By name, of the plugins that are deployed.
    pauses: Mutex<HashMap<String, Arc<AtomicBool>>>,
}

#[derive(Debug)]
struct Runtime {
    engine: Engine,
    cache: CodeCache,
}

impl Registry {
    pub fn new(config: &Config) -> Self {
        let plugin = &config.plugin;
        Self {
            cache_directory: config.data.join("plugin-cache"),
            signing_key: plugin.signing_key.clone(),
            limits: Limits {
                memory_bytes_max: plugin.memory_bytes_max as usize,
                deadline_ms: plugin.deadline_ms as u32,
                output_bytes_max: plugin.output_bytes_max as usize,
                component_bytes_max: plugin.component_bytes_max as usize,
            },
            memory: Arc::new(MemoryPool::new(plugin.memory_total_bytes_max as usize)),
            journal: Arc::default(),
            runtime: OnceLock::new(),
            starting: Mutex::new(()),
            deployed: RwLock::default(),
            pauses: Mutex::default(),
        }
    }

    /// Returns the plugin that is deployed under a name.
    pub fn get(&self, name: &str) -> Option<Deployed> {
        self.read().get(name).cloned()
    }

    /// Returns the place of a name's deployment.
    pub fn place(&self, name: &str) -> Option<Place> {
        self.read().get(name).map(|deployed| deployed.place)
    }

    /// Returns whether a name is that of a filter with a state.
    pub fn has_state(&self, name: &str) -> bool {
        match self.read().get(name).map(|deployed| &deployed.plugin) {
            Some(Ok(Plugin::Filter(filter))) => filter.has_state(),
            _ => false,
        }
    }

    /// Loads a deployed plugin. If that fails, the old one is removed too, since the operator asked
    /// for the new one. Blocks while it compiles.
    ///
    /// # Errors
    /// The content is not a plugin, or there is no machine code for it.
    pub fn load(
        &self,
        name: &str,
        place: Place,
        content: &[u8],
        trial: Trial,
    ) -> Result<(), Error> {
        let (plugin, outcome) = match self.make(name, content) {
            Ok(plugin) => (Ok(plugin), Ok(())),
            Err(error) => {
                trial.note_end();
                (Err(error.to_string().into()), Err(error))
            }
        };
        let deployed = Deployed {
            place,
            plugin,
            trial: Arc::new(trial),
            is_paused: self.pause_of(name),
        };
        self.write().insert(name.to_owned(), deployed);
        outcome
    }

    /// Records that a deployed component cannot be read back.
    pub fn fail(&self, name: &str, place: Place, why: &str) {
        let plugin = Err(why.into());
        let deployed = Deployed {
            place,
            plugin,
            trial: Arc::default(),
            is_paused: self.pause_of(name),
        };
        self.write().insert(name.to_owned(), deployed);
    }

    /// Sets whether a plugin is paused, before or after it is loaded. Returns whether that is new.
    pub fn pause(&self, name: &str, is_paused: bool) -> bool {
        self.pause_of(name).swap(is_paused, Ordering::Relaxed) != is_paused
    }

    fn pause_of(&self, name: &str) -> Arc<AtomicBool> {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pauses.entry(name.to_owned()).or_default())
    }

    /// Returns the names of the plugins whose trial `asks` about, and where they were deployed.
    pub fn on_trial(&self, asks: impl Fn(&Trial) -> bool) -> Vec<(String, Place)> {
        let deployed = self.read();
        let asked = deployed.iter().filter(|(_, of)| asks(&of.trial));
        asked.map(|(name, of)| (name.clone(), of.place)).collect()
    }

    /// Removes the plugins that `keep` refuses. Returns their names.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Vec<String> {
        let mut deployed = self.write();
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.retain(|name, _| keep(name));
        self.journal.retain(&keep);
        let gone = deployed.extract_if(|name, _| !keep(name));
        gone.map(|(name, _)| name).collect()
    }

    /// Returns the world of a component that is not loaded yet.
    ///
    /// # Errors
    /// The content is not a plugin.
    pub fn inspect(&self, content: &[u8]) -> Result<World, Error> {
        inspect_deployed(content, self.limits.component_bytes_max)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Deployed>> {
        self.deployed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Deployed>> {
        self.deployed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, name: &str, content: &[u8]) -> Result<Plugin, Error> {
        let runtime = self.runtime()?;
        let (cache, engine) = (&runtime.cache, &runtime.engine);
        cache.load(engine, name, content, self.limits, compiler())
    }

    fn runtime(&self) -> Result<&Runtime, Error> {
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let operator = self
            .signing_key
            .as_deref()
            .map(SealKey::of_operator)
            .transpose()?;
        let cache = CodeCache::open(&self.cache_directory, operator)?;
        let engine = Engine::with(&self.memory, &self.journal)?;
        Ok(self.runtime.get_or_init(|| Runtime { engine, cache }))
    }
}

/// Returns a command that runs this program as the compiler, if it has one: a child process, so
/// that the memory for compiling is freed.
fn compiler() -> Option<Command> {
    if !cfg!(feature = "jit") {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["plugin", "compile-for-parent"]);
    Some(command)
}
