//! The bound on what an instance holds: the sums over its memories and tables, and the number of its core instances.

use wasmtime::ResourceLimiter;

use super::decommit::HeldBytes;

/// A limit that an invocation reached. It travels as the error of the host call or of the growth that reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{limit}` is reached")]
pub(crate) struct LimitReached {
    pub(crate) limit: &'static str,
}

impl LimitReached {
    /// Returns the error that ends the invocation.
    pub(crate) fn new_error(limit: &'static str) -> wasmtime::Error {
        Self { limit }.into()
    }
}

/// Sums up what an instance holds and refuses growth beyond the limits.
#[derive(Debug)]
pub(crate) struct InstanceLimiter {
    memory_limit: usize,
    table_limit: usize,
    instance_limit: usize,
    memory: usize,
    tables: usize,
    /// The most memory held at one time, in bytes.
    pub(crate) memory_peak: usize,
    held: HeldBytes,
}

/// The bytes of a table's element.
const ELEMENT_BYTES: usize = size_of::<usize>();

impl InstanceLimiter {
    pub(crate) fn new(memory_limit: usize, table_limit: usize, instance_limit: usize) -> Self {
        Self {
            memory_limit,
            table_limit,
            instance_limit,
            memory: 0,
            tables: 0,
            memory_peak: 0,
            held: HeldBytes::default(),
        }
    }

    /// What the instance holds, which this keeps up to date.
    pub(crate) fn held(&self) -> HeldBytes {
        self.held.clone()
    }

    fn note_held(&self) {
        let tables = self.tables.saturating_mul(ELEMENT_BYTES);
        self.held.set(self.memory.saturating_add(tables));
    }
}

impl ResourceLimiter for InstanceLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self.memory.saturating_sub(current).saturating_add(desired);
        if after > self.memory_limit {
            return Err(LimitReached::new_error("memory_bytes"));
        }
        self.memory = after;
        self.memory_peak = self.memory_peak.max(after);
        self.note_held();
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self.tables.saturating_sub(current).saturating_add(desired);
        if after > self.table_limit {
            return Err(LimitReached::new_error("table_elements"));
        }
        self.tables = after;
        self.note_held();
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instance_limit
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        8
    }
}
