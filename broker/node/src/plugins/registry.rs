//! What is deployed: the newest component of each name, ready to be instantiated.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use sedge_plugin::{CodeCache, Engine, Error, FilterFactory, Limits, SealKey};

use crate::config::Config;

/// A deployed plugin, or why it cannot run. The generation grows with each deployment.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub generation: u64,
    pub factory: Result<FilterFactory, Arc<str>>,
}

/// The deployed plugins. Nothing of the engine is made before the first of them.
#[derive(Debug)]
pub struct Registry {
    cache_directory: PathBuf,
    signing_key: Option<PathBuf>,
    limits: Limits,
    runtime: OnceLock<Runtime>,
    starting: Mutex<()>,
    deployed: RwLock<HashMap<String, Deployed>>,
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
            runtime: OnceLock::new(),
            starting: Mutex::new(()),
            deployed: RwLock::default(),
        }
    }

    /// What is deployed under a name.
    pub fn get(&self, name: &str) -> Option<Deployed> {
        self.deployed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Makes what was deployed ready. A failure takes the old one's place too: the operator asked
    /// for the new one.
    ///
    /// # Errors
    /// It is no filter, or there is no machine code for it.
    pub fn load(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let made = self.make(name, content);
        let (factory, outcome) = match made {
            Ok(factory) => (Ok(factory), Ok(())),
            Err(error) => (Err(error.to_string().into()), Err(error)),
        };
        let mut deployed = self
            .deployed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let generation = deployed.get(name).map_or(0, |before| before.generation + 1);
        deployed.insert(
            name.to_owned(),
            Deployed {
                generation,
                factory,
            },
        );
        outcome
    }

    pub fn remove(&self, name: &str) {
        self.deployed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn make(&self, name: &str, content: &[u8]) -> Result<FilterFactory, Error> {
        let runtime = self.runtime()?;
        runtime
            .cache
            .load(&runtime.engine, name, content, self.limits, compiler())
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
        let engine = Engine::new()?;
        Ok(self.runtime.get_or_init(|| Runtime { engine, cache }))
    }
}

/// This program as the compiler, where it has one: a child, so that what compiling takes is given
/// back.
fn compiler() -> Option<Command> {
    if !cfg!(feature = "jit") {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["plugin", "compile-for-parent"]);
    Some(command)
}
