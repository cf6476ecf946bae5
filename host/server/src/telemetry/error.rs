//! Errors of starting telemetry.

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// An instrument cannot be registered.
    #[error("the metrics cannot be set up: {0}")]
    Registry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The contract has no metric of this name and type: an error of the program.
    #[error("the metrics cannot be set up: {0} is not in the contract")]
    NotInContract(String),
    /// The client for the export of traces cannot be made.
    #[error("traces cannot be exported: {0}; check telemetry.otlp_endpoint")]
    Otlp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread cannot be started.
    #[error("telemetry cannot start its thread: {0}")]
    Thread(#[source] std::io::Error),
}
