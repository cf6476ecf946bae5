//! How far each webhook has sent events, whether it is disabled, and the events that it could not deliver.

use ark_model::ids::{Millis, Name};
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{MAX_SEQ, execute_cached, millis_column, optional_millis};
use crate::reader::Reader;
use crate::tables::audit::EventCursor;

/// How far a webhook has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookProgress {
    /// Behind the last event that was delivered, became a dead letter or was none for this webhook.
    pub cursor: EventCursor,
    /// The event that is tried and not delivered yet.
    pub event_id: Option<String>,
    /// How many attempts at it have failed.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: Option<Millis>,
    /// The time from which on no attempt has succeeded; `None`: the last one did, or there was none.
    pub failing_since: Option<Millis>,
}

/// A webhook as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// How far it has come.
    pub progress: WebhookProgress,
    /// When it was disabled, and why; `None`: it is not.
    pub disabled: Option<(Millis, String)>,
}

/// An event that became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// The event's id, which every attempt has had.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// When it happened.
    pub event_at: Millis,
    /// The body that was sent.
    pub body: String,
    /// How many attempts failed.
    pub attempts: u32,
    /// The reason of the last failure.
    pub reason: String,
}

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDeadLetter {
    /// Its number: ascending, over all webhooks.
    pub seq: u64,
    /// The event, its attempts so far and why the last one failed.
    pub letter: NewDeadLetter,
    /// When the last attempt failed.
    pub at: Millis,
    /// When an operator asked for one more attempt that is still to be made.
    pub redeliver_at: Option<Millis>,
}

/// A change of what is kept about a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookChange {
    /// Records the webhook's position.
    Progress(Name, WebhookProgress),
    /// Disables the webhook with a reason. The first reason stays.
    Disable(Name, String),
    /// Events are sent again; the one that was tried last is tried at once.
    Enable(Name),
    /// An event could not be delivered. Of the webhook's dead letters only the newest, as many as this, are kept.
    AddDeadLetter(Name, NewDeadLetter, u32),
    /// One more attempt is to be made at a dead letter, or at all of the webhook.
    RequestRedelivery(Name, Option<String>),
    /// A dead letter was delivered.
    Delivered(Name, String),
    /// The attempt at a dead letter that was asked for failed, for this reason.
    RedeliveryFailed(Name, String, String),
}

pub(crate) fn write_webhook_change(
    connection: &Connection,
    change: &WebhookChange,
    at: Millis,
) -> rusqlite::Result<()> {
    match change {
        WebhookChange::Progress(name, progress) => execute_cached(
            connection,
            "INSERT INTO webhooks (name, audit_seq, alert_seq, event_id, attempts, retry_at, failing_since, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (name) DO UPDATE SET audit_seq = ?2, alert_seq = ?3, event_id = ?4, attempts = ?5, retry_at = ?6,
                 failing_since = ?7, at = ?8",
            params![
                name.as_str(),
                progress.cursor.audit_seq,
                progress.cursor.alert_seq,
                progress.event_id,
                progress.attempts,
                progress.retry_at.map(|at| at.0),
                progress.failing_since.map(|at| at.0),
                at.0
            ],
        ),
        WebhookChange::Disable(name, reason) => execute_cached(
            connection,
            "UPDATE webhooks SET disabled_at = ?2, disabled_reason = ?3 WHERE name = ?1 AND disabled_at IS NULL",
            params![name.as_str(), at.0, reason],
        ),
        WebhookChange::Enable(name) => execute_cached(
            connection,
            "UPDATE webhooks SET disabled_at = NULL, disabled_reason = NULL, attempts = 0, retry_at = NULL, failing_since = NULL WHERE name = ?1",
            [name.as_str()],
        ),
        WebhookChange::AddDeadLetter(name, letter, keep) => {
            execute_cached(
                connection,
                "INSERT INTO webhook_dead_letters (webhook, event_id, event_type, event_at, body, attempts, reason, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (webhook, event_id) DO UPDATE SET attempts = ?6, reason = ?7, at = ?8",
                params![
                    name.as_str(),
                    letter.event_id,
                    letter.event_type,
                    letter.event_at.0,
                    letter.body,
                    letter.attempts,
                    letter.reason,
                    at.0
                ],
            )?;
            execute_cached(
                connection,
                "DELETE FROM webhook_dead_letters WHERE seq IN (SELECT seq FROM webhook_dead_letters WHERE webhook = ?1
                     ORDER BY seq DESC LIMIT -1 OFFSET ?2)",
                params![name.as_str(), keep],
            )
        }
        WebhookChange::RequestRedelivery(name, event_id) => execute_cached(
            connection,
            "UPDATE webhook_dead_letters SET redeliver_at = ?3 WHERE webhook = ?1 AND (?2 IS NULL OR event_id = ?2)",
            params![name.as_str(), event_id, at.0],
        ),
        WebhookChange::Delivered(name, event_id) => execute_cached(
            connection,
            "DELETE FROM webhook_dead_letters WHERE webhook = ?1 AND event_id = ?2",
            params![name.as_str(), event_id],
        ),
        WebhookChange::RedeliveryFailed(name, event_id, reason) => execute_cached(
            connection,
            "UPDATE webhook_dead_letters SET redeliver_at = NULL, attempts = attempts + 1, reason = ?3, at = ?4
             WHERE webhook = ?1 AND event_id = ?2",
            params![name.as_str(), event_id, reason, at.0],
        ),
    }
    .map(drop)
}

const LETTER_COLUMNS: &str =
    "seq, event_id, event_type, event_at, body, attempts, reason, at, redeliver_at";

fn read_letter(row: &Row<'_>) -> rusqlite::Result<WebhookDeadLetter> {
    Ok(WebhookDeadLetter {
        seq: row.get(0)?,
        letter: NewDeadLetter {
            event_id: row.get(1)?,
            event_type: row.get(2)?,
            event_at: millis_column(row, 3)?,
            body: row.get(4)?,
            attempts: row.get(5)?,
            reason: row.get(6)?,
        },
        at: millis_column(row, 7)?,
        redeliver_at: optional_millis(row, 8)?,
    })
}

impl Reader {
    /// How far a webhook has come; `None`: it has sent nothing yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn webhook(&self, name: &Name) -> Result<Option<WebhookRow>, ReadError> {
        self.select_row(
            "SELECT audit_seq, alert_seq, event_id, attempts, retry_at, failing_since, disabled_at, disabled_reason
             FROM webhooks WHERE name = ?1",
            [name.as_str()],
            |row| {
                let disabled_at = optional_millis(row, 6)?;
                let reason: Option<String> = row.get(7)?;
                Ok(WebhookRow {
                    progress: WebhookProgress {
                        cursor: EventCursor {
                            audit_seq: row.get(0)?,
                            alert_seq: row.get(1)?,
                        },
                        event_id: row.get(2)?,
                        attempts: row.get(3)?,
                        retry_at: optional_millis(row, 4)?,
                        failing_since: optional_millis(row, 5)?,
                    },
                    disabled: disabled_at.map(|at| (at, reason.unwrap_or_default())),
                })
            },
        )
    }

    /// How many dead letters a webhook has.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count_webhook_dead_letters(&self, name: &Name) -> Result<u64, ReadError> {
        let count = self.select_row(
            "SELECT count(*) FROM webhook_dead_letters WHERE webhook = ?1",
            [name.as_str()],
            |row| row.get(0),
        )?;
        Ok(count.unwrap_or(0))
    }

    /// A webhook's dead letters before a number, newest first; at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn webhook_dead_letters(
        &self,
        name: &Name,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<WebhookDeadLetter>, ReadError> {
        self.select_rows(
            &format!(
                "SELECT {LETTER_COLUMNS} FROM webhook_dead_letters WHERE webhook = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3"
            ),
            params![name.as_str(), before.unwrap_or(MAX_SEQ).min(MAX_SEQ), limit],
            read_letter,
        )
    }

    /// The dead letter of an event; `None`: the event is none of this webhook's.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn find_webhook_dead_letter(
        &self,
        name: &Name,
        event_id: &str,
    ) -> Result<Option<WebhookDeadLetter>, ReadError> {
        self.select_row(
            &format!(
                "SELECT {LETTER_COLUMNS} FROM webhook_dead_letters WHERE webhook = ?1 AND event_id = ?2"
            ),
            params![name.as_str(), event_id],
            read_letter,
        )
    }

    /// The oldest dead letter of a webhook that is to be delivered once more.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn next_webhook_redelivery(
        &self,
        name: &Name,
    ) -> Result<Option<WebhookDeadLetter>, ReadError> {
        self.select_row(
            &format!(
                "SELECT {LETTER_COLUMNS} FROM webhook_dead_letters WHERE webhook = ?1 AND redeliver_at IS NOT NULL
                 ORDER BY seq LIMIT 1"
            ),
            [name.as_str()],
            read_letter,
        )
    }
}
