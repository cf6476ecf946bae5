//! The router's configuration.

/// Sizes and durations that the router works with.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// Invocations that may run at the same time, without those that have run for more than 10 ms.
    pub workers: usize,
    /// Further invocations that may run at the same time once they have run for more than 10 ms.
    pub slow_workers: usize,
    /// Deliveries that may be pending in all; beyond it signals are refused as busy.
    pub backlog: usize,
    /// Deliveries that may be pending for one agent; a further signal is not delivered to it.
    pub agent_queue: usize,
    /// How long a signal without a time to live of its own waits, in milliseconds. `None`: without limit.
    pub signal_ttl_ms: Option<u64>,
}
