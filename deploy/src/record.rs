//! What a host has recorded, read from its data directory: whether it is whole, and whether it can be repeated. A host may run meanwhile.

use std::path::Path;

use ark_host::hrm::library::PolicyLibrary;
use ark_host::hrm::replay::replay_last;
use ark_runtime::{
    Engine, EngineConfig, EngineError, GraveyardSource, Pin, PinError, PinnedGraveyard,
};
use ark_store::{OpenError, ReadError, ReadOnlyStore};

/// Why a record cannot be read, or is not as it must be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordFault {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The Graveyard of this program cannot be trusted.
    #[error(transparent)]
    Graveyard(#[from] PinError),
    /// A row is not as it was written.
    #[error("row {seq} of the audit log {problem}")]
    Row {
        /// The row.
        seq: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A revision of state is not as it was written, or is gone.
    #[error("revision {seq} of the state's history {problem}")]
    Revision {
        /// The revision, by its place in the history of all agents.
        seq: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The schema, or what decides who may act, is not what the host has made and recorded.
    #[error("{}; `ark state check` lists it: treat it as an intrusion", .0.join("; "))]
    Differences(Vec<String>),
    /// A decision has another result now.
    #[error("{different} of {decisions} decisions have another result now, e.g. {example}")]
    Different {
        /// The number of decisions that have another result.
        different: u64,
        /// The number of decisions that were judged again.
        decisions: u64,
        /// One of them, and what differs.
        example: String,
    },
}

/// Checks every row of the audit log. Returns how many there are.
pub(crate) fn verify_audit_log(data_dir: &Path) -> Result<u64, RecordFault> {
    let report = ReadOnlyStore::open(data_dir)?.verify_audit_log()?;
    match report.fault {
        None => Ok(report.rows),
        Some(fault) => Err(RecordFault::Row {
            seq: fault.seq,
            problem: fault.problem,
        }),
    }
}

/// Checks every revision of every agent's state, and the values against them; the schema, and tokens, halt and quarantines against the audit log. Returns
/// how many revisions there are. Secrets are compared as they are kept, without their key.
pub(crate) fn verify_state_history(data_dir: &Path) -> Result<u64, RecordFault> {
    let report = ReadOnlyStore::open(data_dir)?.check_state(None)?;
    if let Some(fault) = report.fault {
        return Err(RecordFault::Revision {
            seq: fault.seq,
            problem: fault.problem,
        });
    }
    if report.is_sound() {
        return Ok(report.revisions);
    }
    let found = [report.schema, report.tokens, report.orders];
    Err(RecordFault::Differences(found.concat()))
}

/// Decisions of a record that all came out as they must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplayedDecisions {
    /// How many were judged again, and are the same to the byte.
    pub(crate) identical: u64,
    /// How many were denied because a policy failed. They are not judged again, since the failure may be one of time.
    pub(crate) failures: u64,
}

/// Judges the last decisions again, `limit` at most.
pub(crate) fn replay_decisions(
    data_dir: &Path,
    limit: u32,
) -> Result<ReplayedDecisions, RecordFault> {
    let engine = Engine::new(&EngineConfig::default())?;
    let pin = Pin::compiled_in()?;
    let graveyard = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin)?;
    let store = ReadOnlyStore::open(data_dir)?;
    let library = PolicyLibrary::from_policies(vec![std::sync::Arc::new(graveyard.policy)])
        .with_earlier_graveyards(&engine)
        .with_database(&engine, &store);
    let report = replay_last(&store, &library, limit)?;
    let same = report.identical + report.failures;
    if same == report.decisions {
        return Ok(ReplayedDecisions {
            identical: report.identical,
            failures: report.failures,
        });
    }
    let example = report.differences.first();
    Err(RecordFault::Different {
        different: report.decisions - same,
        decisions: report.decisions,
        example: example.map_or_else(String::new, |one| {
            format!("{} (row {}): {}", one.decision_id, one.seq, one.problem)
        }),
    })
}
