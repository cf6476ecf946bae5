//! Metrics, traces, log lines, and a real Prometheus that reads them.

mod metrics;
mod prometheus;
mod traces;
