//! When the pages that an instance wrote are given back to the kernel.
//!
//! The pool does it before it uses the place of an ended instance again, so no instance ever sees anything of another. Each time the kernel takes pages from a
//! process it interrupts every other processor that runs one of its threads, which costs more than all else of a small invocation's end. So the
//! pool collects the regions of several ended instances, and gives them back with one system call (`process_madvise`, since Linux 6.14; where it is not there or not
//! permitted, with one call for each).
//!
//! Invariants: what is collected was held by instances of at most [`SMALL_BYTES`] each, and is fewer than [`COLLECTED_REGIONS`] regions, so it is bounded by
//! [`COLLECTED_BYTES`]. When a larger instance ends, everything is given back, but for what another thread is about to give back. So it is when a component is
//! dropped, since a place that waits holds on to the component's code.
//!
//! Must not know: agents, policies.

use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use wasmtime::{
    Config, Instance, InstanceAllocationStrategy, Module, PoolingAllocationConfig, Store,
};

/// The most that the pages which the pool has collected take at a time, in bytes.
pub const COLLECTED_BYTES: usize = COLLECTED_REGIONS as usize * SMALL_BYTES;
/// With so many regions the pool gives all of them back. Each memory and each table of an instance is one.
pub(crate) const COLLECTED_REGIONS: u32 = 64;
/// What an instance may hold so that its pages are collected: memories and tables, in bytes.
const SMALL_BYTES: usize = 2 * 1024 * 1024;
/// The tables of the module that fills the pool's queue.
const FILLER_TABLES: u8 = 32;

/// What an instance holds, in bytes: known to its limiter, and to what gives its pages back.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldBytes(Arc<AtomicUsize>);

impl HeldBytes {
    /// Notes what the instance holds now. It never holds less: memories and tables only grow.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Starts an engine, and returns whether its pool collects pages.
///
/// wasmtime's pool has a queue for each processor that the thread which starts it may run on, and nothing says which queue a thread uses. It has one
/// queue, which any thread can have emptied, when that thread is bound to one processor. Where threads cannot be bound nothing is collected.
pub(crate) fn start_engine(
    config: &mut Config,
    pool: &mut PoolingAllocationConfig,
) -> wasmtime::Result<(wasmtime::Engine, bool)> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("ark-engine".to_owned())
            .spawn_scoped(scope, || {
                let collects = bind_to_one_processor();
                pool.decommit_batch_size(if collects { COLLECTED_REGIONS as usize } else { 1 });
                config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool.clone()));
                if !collects {
                    tracing::info!("threads cannot be bound to a processor: the pages of each instance are given back alone");
                }
                Ok((wasmtime::Engine::new(config)?, collects))
            })?
            .join()
            .map_err(|_| wasmtime::Error::msg("the thread that starts the engine has panicked"))?
    })
}

/// Binds the calling thread. Returns whether it can run on one processor only.
fn bind_to_one_processor() -> bool {
    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    let mut one = CpuSet::new();
    if let Some(processor) = (0..CpuSet::MAX_CPU).find(|processor| allowed.is_set(*processor)) {
        one.set(processor);
    }
    let bound = sched_setaffinity(None, &one);
    bound.is_ok()
        && std::thread::available_parallelism().is_ok_and(|it| it == NonZero::<usize>::MIN)
}

/// Makes a core module that has nothing but [`FILLER_TABLES`] tables without elements.
fn make_filler() -> Vec<u8> {
    const TABLE: [u8; 3] = [0x70, 0, 0];
    const SECTION_BYTES: u8 = 1 + FILLER_TABLES * 3;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend([4, SECTION_BYTES, FILLER_TABLES]);
    module.extend(TABLE.repeat(FILLER_TABLES.into()));
    module
}

/// Has the pool give back what it has collected, if it collects.
pub(crate) struct PageReturn(Option<Module>);

impl PageReturn {
    /// Makes it for the pool of an engine.
    pub(crate) fn new(engine: &wasmtime::Engine, collects: bool) -> wasmtime::Result<Self> {
        let filler = collects.then(|| Module::new(engine, make_filler()));
        filler.transpose().map(Self)
    }

    /// There is no call for that: as many regions as the pool collects are added, with nothing in them.
    pub(crate) fn give_back(&self, engine: &wasmtime::Engine) {
        let Some(filler) = &self.0 else {
            return;
        };
        for _ in 0..COLLECTED_REGIONS.div_ceil(FILLER_TABLES.into()) {
            let mut store = Store::new(engine, ());
            if let Err(error) = Instance::new(&mut store, filler, &[]) {
                // Where the pool has no table left, it has given back all to find one.
                tracing::debug!(%error, "the pool's queue was not filled");
                return;
            }
        }
    }
}

/// The store of an instance. When it is dropped and the instance was large, its pages are given back at once.
pub(crate) struct GuestStore<T: 'static> {
    // Dropped before what follows it.
    store: Store<T>,
    _end: InstanceEnd,
}

/// What follows when the store of an instance was dropped.
struct InstanceEnd {
    engine: wasmtime::Engine,
    pages: Arc<PageReturn>,
    held: HeldBytes,
}

impl<T: 'static> GuestStore<T> {
    pub(crate) fn new(
        (engine, pages): (&wasmtime::Engine, &Arc<PageReturn>),
        data: T,
        held: HeldBytes,
    ) -> Self {
        Self {
            store: Store::new(engine, data),
            _end: InstanceEnd {
                engine: engine.clone(),
                pages: Arc::clone(pages),
                held,
            },
        }
    }
}

impl<T: 'static> Deref for GuestStore<T> {
    type Target = Store<T>;

    fn deref(&self) -> &Store<T> {
        &self.store
    }
}

impl<T: 'static> DerefMut for GuestStore<T> {
    fn deref_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }
}

impl Drop for InstanceEnd {
    fn drop(&mut self) {
        if self.held.0.load(Ordering::Relaxed) > SMALL_BYTES {
            self.pages.give_back(&self.engine);
        }
    }
}
