//! Whether the host takes the tokens of a rollback.

use crate::exchange::HostClients;
use crate::exchange::preflight::find_refused_tokens;
use crate::rollback::error::RollbackError;
use crate::rollback::plan::RollbackPlan;

/// Checks before an operator's rollback begins that the host takes the tokens which its validation needs. Where no host answers it begins all the same,
/// and so does the way back of an upgrade.
///
/// # Errors
/// The host refuses a token, and a validation is wanted.
pub(super) fn check_tokens(
    clients: HostClients<'_>,
    plan: &RollbackPlan,
) -> Result<(), RollbackError> {
    if plan.validation.is_none() || plan.upgrade.is_some() {
        return Ok(());
    }
    let refused = find_refused_tokens(clients, &plan.data_dir, true);
    if refused.is_empty() {
        return Ok(());
    }
    Err(RollbackError::Token(refused.join("; ")))
}
