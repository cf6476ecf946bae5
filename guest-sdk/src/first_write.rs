//! What an instance does first: it writes to its static data, before anything reads it.
//!
//! The memory of a fresh instance is mapped from the component. A page that is read first is mapped read-only, and mapped again as a copy when it is
//! written; for that the kernel interrupts every other processor that runs threads of the host. A page that is written first is copied at once. The
//! allocator reads its state before it writes to it; in most components that is on the same page as the byte here, since data that begins as zeros is
//! laid out together. Where it is not, nothing is gained.

use core::sync::atomic::{AtomicU8, Ordering};

/// Nobody reads it.
#[used]
static WRITTEN: AtomicU8 = AtomicU8::new(0);

// A component calls a function of this name before it calls anything else of its module, the allocator included; constructors run later.
#[unsafe(export_name = "_initialize")]
extern "C" fn write_first() {
    WRITTEN.store(1, Ordering::Relaxed);
}
