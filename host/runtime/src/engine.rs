//! The wasmtime engine, its clock and its cache of compiled modules.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmtime::{Cache, CacheConfig, Config, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often the epoch advances: the grain of deadlines.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(5);

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where compiled modules are kept; `None`: nowhere. Native code is loaded from there, so it must belong to the user that runs the host
    /// and be writable by nobody else.
    pub cache_dir: Option<PathBuf>,
    /// How many instances may exist at the same time.
    pub instances: u32,
    /// The largest single memory of a guest, in bytes: an upper bound for every limit.
    pub memory_bytes: usize,
    /// The stack a guest may use, in bytes: less than a thread's own.
    pub stack_bytes: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cache_dir: None,
            instances: 256,
            memory_bytes: 256 * 1024 * 1024,
            stack_bytes: super::limits::Limits::default().stack_bytes,
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Somebody else could have put native code into the cache.
    #[error(
        "the compiled-module cache {path} is not safe to load code from: {problem}; remove it, or give it to the user that runs the host, mode 0700",
        path = path.display()
    )]
    UntrustedCache {
        /// The directory or file.
        path: PathBuf,
        /// Who could write to it.
        problem: String,
    },
    /// The cache directory cannot be used.
    #[error("the compiled-module cache {path} cannot be used: {source}", path = path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Wasmtime refuses the configuration, or its clock thread cannot start.
    #[error("the engine cannot start: {0}")]
    Start(String),
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
}

impl Engine {
    /// Starts the engine and its clock, the thread `ark-epoch`, which ends with the last clone.
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
            .memory_init_cow(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling_config(config)));
        if let Some(dir) = &config.cache_dir {
            wasm.cache(Some(open_cache(dir)?));
        }
        let engine = wasmtime::Engine::new(&wasm)
            .map_err(|error| EngineError::Start(format!("{error:#}")))?;
        let weak = engine.weak();
        std::thread::Builder::new()
            .name("ark-epoch".to_owned())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(EPOCH_TICK);
                }
            })
            .map_err(|error| EngineError::Start(error.to_string()))?;
        Ok(Self { engine })
    }

    pub(super) const fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

fn pooling_config(config: &EngineConfig) -> PoolingAllocationConfig {
    // An agent made with Rust's standard library has 3 core instances, one made from a scripting language some more.
    const CORE_INSTANCES: u32 = 4;
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(config.instances)
        .total_core_instances(config.instances.saturating_mul(CORE_INSTANCES))
        .total_memories(config.instances.saturating_mul(2))
        .total_tables(config.instances.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(32)
        .max_memories_per_component(8)
        .max_tables_per_component(32)
        .max_memories_per_module(8)
        .max_tables_per_module(32)
        .max_memory_size(config.memory_bytes)
        .table_elements(100_000)
        .max_core_instance_size(4 * 1024 * 1024)
        .max_component_instance_size(4 * 1024 * 1024)
        .linear_memory_keep_resident(256 * 1024)
        .table_keep_resident(64 * 1024)
        .max_unused_warm_slots(64);
    pool
}

/// Wasmtime's own cache: keyed by SHA-256 over the component and everything that shapes the compiled code.
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

/// Everything at and below `path` must be ours and writable by us alone.
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
        // The cache's own cleaning may have removed it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if metadata.file_type().is_symlink() {
        return Err(untrusted("it is a symbolic link".to_owned()));
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(untrusted(format!(
            "it belongs to user {}, the host runs as user {us}",
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
