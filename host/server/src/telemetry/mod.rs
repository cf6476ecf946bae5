//! Telemetry: shows what the parts record, as metrics for Prometheus and as JSON, as service level objectives, as traces for an OTLP endpoint,
//! and as log lines.
//!
//! # Three layers of metrics
//!
//! A number has one home, and each layer does what the one before it cannot:
//! * **Counters of the parts** ([`ark_model::meters`]) hold what was counted: atomic numbers that a part increments, most of them when a commit
//!   succeeded. The host itself reads them back (objectives, `GET /v1/policies/{name}`, the audit log's head), also with telemetry off, and
//!   the parts that record need no library for it. OpenTelemetry's counters are write-only, so they could not take this place.
//! * **OpenTelemetry instruments** ([`registry`]) hold distributions: a histogram has to be aggregated as values come, and its buckets are
//!   OpenTelemetry's. Counters and gauges are observable instruments: they hold nothing and read the parts' counters when somebody asks.
//! * **The Prometheus exporter** (`opentelemetry-prometheus`) holds nothing. It turns instruments into families, which `/metrics` and
//!   `/metrics/json` encode. Two kinds of metric are collected past OpenTelemetry into the same Prometheus registry: summaries, which
//!   OpenTelemetry does not have, and metrics with a row for each agent, for which several microseconds a row in OpenTelemetry's aggregation
//!   would be most of a scrape (with 1,000 agents 51 ms instead of 10).
//!
//! Every metric is stated once, in [`metrics`]: its name, type, labels, help text, and where its value comes from.
//!
//! # Invariants
//!
//! Recording costs a decision some atomic additions and short critical sections; everything else happens when somebody asks, on threads of
//! telemetry's own. Telemetry that fails costs numbers, never decisions.
//!
//! Reading order: [`metrics`], [`registry`], [`builder`] and [`handle`] (the parts put together), [`recent`] and [`slo`] (windows),
//! [`server`] (the port), [`otlp`] (traces), [`logs`].
//!
//! Must not know: SQL, wasmtime.

mod builder;
mod config;
mod error;
mod front;
mod handle;
mod json;
pub mod logs;
pub mod metrics;
mod otlp;
mod process;
mod recent;
mod registry;
mod sampler;
mod server;
mod slo;

pub use builder::TelemetryBuilder;
pub use config::{TelemetryConfig, TelemetryListen};
pub use error::TelemetryError;
pub use front::FrontTelemetry;
pub use handle::Telemetry;
pub use logs::LogFormat;
pub use metrics::{MetricSources, OpenApprovals};
pub use server::{ListenError, TelemetryServer};
pub(crate) use server::{build_response, is_telemetry_readiness, metrics_response};
