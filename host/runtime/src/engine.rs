//! The wasmtime engine and its cache of compiled modules.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::Component;
use wasmtime::{Cache, CacheConfig, Config, PoolingAllocationConfig};

use super::decommit::{COLLECTED_REGIONS, GuestStore, HeldBytes, PageReturn, start_engine};
use super::epoch::spawn_clock;
use super::limits::Limits;
use super::thread_priority::lower_thread_priority;

/// The priority of the threads that compile, as a nice value.
const COMPILER_NICE: i32 = 10;

/// How an [`Engine`] is set up. These are properties of the process; what one invocation may use is in [`Limits`].
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The directory in which compiled modules are kept between starts; absent: they are not kept.
    ///
    /// The host loads native code from this directory. It is therefore refused unless it and everything in it belongs to the user that runs the
    /// host and is writable by that user only. Root does not use it where the directory that it is in belongs to another user: that user's host
    /// could not read what root compiled, and root would run code that the user can write.
    pub cache_dir: Option<PathBuf>,
    /// The number of component instances that may exist at the same time.
    ///
    /// The engine reserves address space for all of them when it starts. When they are all in use, an invocation fails with
    /// [`NoRoom`](super::InvocationFailure::NoRoom).
    pub instances: u32,
    /// The size of the largest single memory of a guest, in bytes.
    ///
    /// It is an upper bound for [`Limits::memory_bytes`], which bounds the sum over all memories of one instance.
    pub memory_bytes: usize,
    /// The stack that a guest may use, in bytes. It must be smaller than the stack of every thread that runs guests, which
    /// for the Graveyard are those of HTTP too.
    ///
    /// A guest that needs more traps. The stack of host functions is not included.
    pub stack_bytes: usize,
}

impl Default for EngineConfig {
    /// Returns a configuration without a cache, for 256 instances with memories of up to 256 MiB.
    fn default() -> Self {
        Self {
            cache_dir: None,
            instances: 256,
            memory_bytes: 256 * 1024 * 1024,
            stack_bytes: Limits::default().stack_bytes,
        }
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another user could have written native code into the cache.
    #[error(
        "the compiled-module cache {path} is not safe to load code from: {problem}; remove it, or give it to the user that runs the host, mode 0700",
        path = path.display()
    )]
    UntrustedCache {
        /// The directory or file concerned.
        path: PathBuf,
        /// Who could write to it.
        problem: String,
    },
    /// The cache directory cannot be created or read.
    #[error("the compiled-module cache {path} cannot be used: {source}", path = path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Wasmtime refuses the configuration. Holds wasmtime's description.
    #[error("the engine cannot start: {0}")]
    Start(String),
    /// The thread of the engine's clock cannot be started.
    #[error("the engine's clock cannot start: {0}")]
    Clock(#[source] std::io::Error),
    /// The threads that compile cannot be started.
    #[error("the threads that compile components cannot start: {0}")]
    Compilers(#[source] rayon::ThreadPoolBuildError),
}

/// The engine that compiles and runs all components of the process. Cheap to clone.
///
/// Every component runs with the same settings: fuel is consumed, epochs interrupt, NaNs are canonical and relaxed SIMD is deterministic. Two
/// runs of a component with the same inputs therefore do the same on every machine. Memories of 64 bits are refused.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    /// The threads `ark-compile-N`, on which wasmtime compiles the functions of a component. Their priority is low, so that no compilation
    /// takes the processor from the threads that judge and serve.
    compilers: Arc<rayon::ThreadPool>,
    pages: Arc<PageReturn>,
}

impl Engine {
    /// Starts an engine and its clock, the thread `ark-epoch`, which ends when the last clone of the engine is dropped.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let mut wasm = Config::new();
        wasm.consume_fuel(true)
            .epoch_interruption(true)
            .max_wasm_stack(config.stack_bytes)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            .wasm_memory64(false)
            .memory_init_cow(true);
        match &config.cache_dir {
            Some(dir) if is_of_other_user(dir) => {
                tracing::info!(dir = %dir.display(), "root leaves another user's compiled modules alone");
            }
            Some(dir) => {
                wasm.cache(Some(open_cache(dir)?));
            }
            None => {}
        }
        let (engine, collects) = start_engine(&mut wasm, &mut pooling_config(config))
            .map_err(|error| EngineError::Start(format!("{error:#}")))?;
        spawn_clock(engine.weak()).map_err(EngineError::Clock)?;
        let compilers = rayon::ThreadPoolBuilder::new()
            .thread_name(|number| format!("ark-compile-{number}"))
            .start_handler(|_| lower_thread_priority(COMPILER_NICE))
            .build()
            .map_err(EngineError::Compilers)?;
        let pages = compilers
            .install(|| PageReturn::new(&engine, collects))
            .map_err(|error| EngineError::Start(format!("{error:#}")))?;
        Ok(Self {
            engine,
            compilers: Arc::new(compilers),
            pages: Arc::new(pages),
        })
    }

    /// Makes the store of an instance. `held` is what its limiter keeps up to date.
    pub(crate) fn new_store<T: 'static>(&self, data: T, held: HeldBytes) -> GuestStore<T> {
        GuestStore::new((&self.engine, &self.pages), data, held)
    }

    /// Has the pool give back the pages of ended instances. To be called before a component is dropped: a place that waits holds on to its code.
    pub(crate) fn give_pages_back(&self) {
        self.pages.give_back(&self.engine);
    }

    /// Compiles a component on the threads for it, which all compilations share; takes its code from the cache if it is there.
    pub(crate) fn compile(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        self.compilers
            .install(|| Component::from_binary(&self.engine, bytes))
    }

    pub(crate) const fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

fn pooling_config(config: &EngineConfig) -> PoolingAllocationConfig {
    // An agent in Rust has 3 core modules and one memory, one in JavaScript 4, one in Python 14 to 38. This is only a count: the pool reserves
    // address space for memories and tables, of which each of them has one and two.
    const CORE_INSTANCES: u32 = 128;
    const TABLES: u32 = 4;
    let mut pool = PoolingAllocationConfig::default();
    // What waits to be given back takes none of the room of instances.
    pool.total_component_instances(config.instances)
        .total_core_instances(config.instances.saturating_mul(CORE_INSTANCES))
        .total_memories(
            config
                .instances
                .saturating_mul(2)
                .saturating_add(COLLECTED_REGIONS),
        )
        .total_tables(
            config
                .instances
                .saturating_mul(TABLES)
                .saturating_add(COLLECTED_REGIONS),
        )
        // For calls of asynchronous functions, of which there are none. By default there are 1,000, each with a guard page of its own.
        .total_stacks(0)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(8)
        .max_tables_per_component(32)
        .max_memories_per_module(8)
        .max_tables_per_module(32)
        .max_memory_size(config.memory_bytes)
        .table_elements(100_000)
        .max_core_instance_size(4 * 1024 * 1024)
        .max_component_instance_size(4 * 1024 * 1024)
        // Nothing of a memory is kept between two instances. What could be kept is its start, and there a guest has the far end of its stack, which
        // it hardly ever reaches: toolchains put a stack of a mebibyte before the data. To write zeros there costs more than the rest of a reset.
        .linear_memory_keep_resident(0)
        .table_keep_resident(64 * 1024)
        .max_unused_warm_slots(64);
    pool
}

/// Whether this is root, and a directory is in that of another user.
fn is_of_other_user(dir: &Path) -> bool {
    let parent = dir.parent().map(std::fs::metadata);
    rustix::process::geteuid().is_root()
        && parent.is_some_and(|parent| parent.is_ok_and(|parent| parent.uid() != 0))
}

/// Opens wasmtime's own cache. Its keys are SHA-256 over the component and everything that affects the compiled code.
fn open_cache(dir: &Path) -> Result<Cache, EngineError> {
    let failed = |source| EngineError::Cache {
        path: dir.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let dir = dir.canonicalize().map_err(failed)?;
    check_trusted(&dir)?;
    let mut config = CacheConfig::new();
    config.with_directory(&dir);
    Cache::new(config).map_err(|error| EngineError::Start(format!("{error:#}")))
}

/// Checks that everything at and below `path` belongs to the user of this process and is writable by that user only.
fn check_trusted(path: &Path) -> Result<(), EngineError> {
    let failed = |source| EngineError::Cache {
        path: path.to_owned(),
        source,
    };
    let untrusted = |problem: String| EngineError::UntrustedCache {
        path: path.to_owned(),
        problem,
    };
    let metadata = match std::fs::symlink_metadata(path) {
        // The cache's own cleaning may have removed the file since the directory was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if metadata.file_type().is_symlink() {
        return Err(untrusted("it is a symbolic link".to_owned()));
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(untrusted(format!(
            "it belongs to user {}, the host runs as user {user}",
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(untrusted(format!(
            "others may write to it (mode {:04o})",
            metadata.mode() & 0o7777
        )));
    }
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            check_trusted(&entry.map_err(failed)?.path())?;
        }
    }
    Ok(())
}
