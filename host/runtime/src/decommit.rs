//! When the pages that an instance wrote are given back to the kernel.
//!
//! The pool does it before it uses the place of an ended instance again, so no instance ever sees anything of another. Each time the kernel takes pages from a
//! process it interrupts every other processor that runs one of its threads, which costs more than all else of a small invocation's end. So the
//! pool collects the regions of several ended instances, and gives them back with one system call (`process_madvise`, since Linux 6.14; where it is not there or not
//! permitted, with one call for each).
//!
//! Invariants: what is collected was held by instances of at most [`SMALL_BYTES`] each, and is [`COLLECTED_REGIONS`] memories and tables at most, so it is bounded
//! by [`COLLECTED_BYTES`]. The pages of a larger instance are given back when it ends.
//!
//! Must not know: agents, policies.

use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::{Instance, Module, Store};

/// The most that the pages which the pool has collected take at a time, in bytes.
pub const COLLECTED_BYTES: usize = COLLECTED_REGIONS * SMALL_BYTES;
/// How many regions the pool collects, in all its queues.
const COLLECTED_REGIONS: usize = 64;
/// The most queues that the pool has: it has one for each processor up to this number (wasmtime 48, `default_shard_count`).
const MAX_QUEUES: usize = 16;
/// What an instance may hold so that its pages are collected: memories and tables, in bytes.
const SMALL_BYTES: usize = 2 * 1024 * 1024;
/// A core module without functions that has [`FILLER_MEMORIES`] memories of a page each.
const FILLER: [u8; 27] =
    *b"\0asm\x01\0\0\0\x05\x11\x08\0\x01\0\x01\0\x01\0\x01\0\x01\0\x01\0\x01\0\x01";
const FILLER_MEMORIES: usize = 8;

/// How many regions one queue of the pool collects before it gives them back.
pub(crate) fn batch_regions() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    COLLECTED_REGIONS / processors.min(MAX_QUEUES)
}

/// What an instance holds, in bytes: known to its limiter, and to what gives its pages back.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldBytes(Arc<AtomicUsize>);

impl HeldBytes {
    /// Notes what the instance holds now. It never holds less: memories and tables only grow.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Empties the pool's queue of the calling thread.
pub(crate) struct QueueFlush {
    filler: OnceLock<Option<Module>>,
}

impl QueueFlush {
    pub(crate) const fn new() -> Self {
        Self {
            filler: OnceLock::new(),
        }
    }

    /// Has the pool give back what its queue of this thread has collected. There is no call for that: as many memories as the queue takes are made and
    /// dropped, with nothing in them.
    fn flush(&self, engine: &wasmtime::Engine) {
        let compile = || {
            Module::new(engine, FILLER)
                .inspect_err(|error| tracing::error!(%error, "the module that empties the pool's queue cannot be compiled"))
                .ok()
        };
        let Some(filler) = self.filler.get_or_init(compile) else {
            return;
        };
        for _ in 0..batch_regions().div_ceil(FILLER_MEMORIES) {
            let mut store = Store::new(engine, ());
            if let Err(error) = Instance::new(&mut store, filler, &[]) {
                // The pool is full, and has emptied its queues to find a place.
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
    flush: Arc<QueueFlush>,
    held: HeldBytes,
}

impl<T: 'static> GuestStore<T> {
    pub(crate) fn new(
        (engine, flush): (&wasmtime::Engine, &Arc<QueueFlush>),
        data: T,
        held: HeldBytes,
    ) -> Self {
        Self {
            store: Store::new(engine, data),
            _end: InstanceEnd {
                engine: engine.clone(),
                flush: Arc::clone(flush),
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
            self.flush.flush(&self.engine);
        }
    }
}
