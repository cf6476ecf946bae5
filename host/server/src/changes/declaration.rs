//! Declarations of the configuration that a running host reads again: each change is a row of the audit log before it takes effect.

use ark_model::ids::Millis;
use ark_store::{CommitError, Store, Unit};
use serde_json::{Value, json};

use super::change_request::ChangeRequest;

/// Records that the declared action types are others from now on. `old` and `new` are the declarations as the configuration shows them.
///
/// # Errors
/// The row cannot be committed; then the old ones must stay in force.
pub fn record_action_types(store: &Store, old: &Value, new: &Value) -> Result<(), CommitError> {
    let at = Millis::now();
    let body = json!({"order": "action_types.reload", "old": old, "new": new});
    let request = ChangeRequest::for_host("the configuration was read again");
    store.commit(Unit {
        at,
        audit: vec![request.audit_entry(None, body, at)],
        ..Unit::default()
    })?;
    Ok(())
}
