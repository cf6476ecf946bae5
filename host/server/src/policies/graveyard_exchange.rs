//! The exchange of one release's Graveyard for another's: a start that finds decisions of another Graveyard records it.

use serde::Deserialize;
use serde_json::json;

use crate::changes::ChangeRequest;
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Digest, Millis};
use ark_model::verdict::Metadata;
use ark_store::{AuditFilter, AuditKind, AuditRow, CommitError, ReadError, Store, Unit};

/// The name of the change in the audit log.
const CHANGE: &str = "graveyard.exchange";
/// Rows read at once, newest first, until one names a Graveyard.
const PAGE_ROWS: u32 = 100;

/// Why an exchange is not recorded. The host does not start: what judges must be on record before it judges.
#[derive(Debug, thiserror::Error)]
pub enum GraveyardExchangeError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The row cannot be committed.
    #[error("the exchange of the Graveyard cannot be recorded: {0}")]
    Commit(#[from] CommitError),
}

/// Compares the Graveyard of this start with the one that judged before, and commits an audit row where they differ. A database without
/// decisions has had none.
///
/// # Errors
/// See [`GraveyardExchangeError`].
pub fn record_graveyard_exchange(
    store: &Store,
    current: &PolicyIdentity,
) -> Result<(), GraveyardExchangeError> {
    let Some(previous) = find_previous_graveyard(store)? else {
        return Ok(());
    };
    if previous == current.digest {
        return Ok(());
    }
    let known = store.policy_records()?.into_iter();
    let previous_version = known
        .filter(|record| record.digest == previous)
        .find_map(|record| serde_json::from_str::<Metadata>(&record.metadata_json).ok())
        .map(|metadata| metadata.version);
    let body = json!({
        "order": CHANGE,
        "old": {"sha256": previous, "version": previous_version},
        "new": {"sha256": current.digest, "version": current.metadata.version},
    });
    tracing::warn!(
        old = %previous,
        old_version = previous_version,
        new = %current.digest,
        new_version = current.metadata.version,
        "the Graveyard is another one than judged before; decisions from here on are this one's"
    );
    let request = ChangeRequest::for_host("another release of the host, found at the start");
    let now = Millis::now();
    store.commit(Unit {
        may_use_reserve: true,
        at: now,
        audit: vec![request.audit_entry(None, body, now)],
        ..Unit::default()
    })?;
    Ok(())
}

/// Returns the digest of the Graveyard that judged last, or that the last exchange put in force; `None`: the database has no row of either.
fn find_previous_graveyard(store: &Store) -> Result<Option<Digest>, ReadError> {
    let mut before = None;
    loop {
        let page = store.audit_page(&AuditFilter::default(), before, PAGE_ROWS)?;
        if let Some(row) = page.iter().find(|row| names_graveyard(row)) {
            return Ok(read_graveyard(row));
        }
        let Some(last) = page.last() else {
            return Ok(None);
        };
        before = Some(last.seq);
    }
}

fn names_graveyard(row: &AuditRow) -> bool {
    match row.kind {
        AuditKind::Decision => true,
        AuditKind::Operator => row.action_type.as_deref() == Some(CHANGE),
        _ => false,
    }
}

/// Returns the digest of the Graveyard that a row names; `None` for a body of another form.
fn read_graveyard(row: &AuditRow) -> Option<Digest> {
    #[derive(Deserialize)]
    struct JudgeDigest {
        digest: Digest,
    }
    #[derive(Deserialize)]
    struct ExchangedGraveyard {
        sha256: Digest,
    }
    #[derive(Deserialize)]
    struct Body {
        /// A decision's verdicts: the Graveyard's is the first.
        #[serde(default)]
        verdicts: Vec<JudgeDigest>,
        new: Option<ExchangedGraveyard>,
    }
    let body: Body = serde_json::from_str(&row.body).ok()?;
    let judge = body.verdicts.first().map(|judge| judge.digest);
    judge.or(body.new.map(|new| new.sha256))
}
