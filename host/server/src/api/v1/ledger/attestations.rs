//! Facts that operators attest: entries of lists, the capital, results.

use std::sync::Arc;

use crate::api::auth::Caller;
use crate::api::http::fields::{Actor, Reason};
use crate::api::http::problem::Problem;
use crate::api::state::Api;
use crate::hrm::{Attestation, AttestationReceipt, AttestedFact, IdempotencyKey};

/// Hands a fact to the HRM, and waits until it is in force and on disk.
///
/// # Errors
/// The caller may not act under the name in `by`, or the HRM refuses the fact.
pub(crate) async fn record_attestation(
    api: &Arc<Api>,
    caller: &Caller,
    fact: AttestedFact,
    reason: Reason,
    by: Option<Actor>,
    idempotency: Option<IdempotencyKey>,
) -> Result<AttestationReceipt, Problem> {
    let attestation = Attestation {
        fact,
        trace_id: caller.trace_id,
        reason: reason.into(),
        by: caller.resolve_actor("by", by)?,
        idempotency,
    };
    api.ask_hrm_blocking(|hrm, reply| hrm.record_attestation(attestation, reply))
        .await
}
