-- How far each webhook has sent events, and how the next one goes. A row stays when its webhook is taken out of the configuration: one that
-- comes back under its name goes on where it was.
CREATE TABLE webhooks (
    name TEXT PRIMARY KEY,
    audit_seq INTEGER NOT NULL,
    alert_seq INTEGER NOT NULL,
    -- The event that was tried last and not delivered, with the failed attempts and the time of the next one.
    event_id TEXT,
    attempts INTEGER NOT NULL,
    retry_at INTEGER,
    failing_since INTEGER,
    -- While this is set nothing is sent.
    disabled_at INTEGER,
    disabled_reason TEXT,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that could not be delivered, as they were sent. A time in redeliver_at asks for one more attempt.
CREATE TABLE webhook_dead_letters (
    seq INTEGER PRIMARY KEY,
    webhook TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    redeliver_at INTEGER,
    UNIQUE (webhook, event_id)
) STRICT;
CREATE INDEX webhook_dead_letters_of_webhook ON webhook_dead_letters (webhook, seq);
CREATE INDEX webhook_dead_letters_requested ON webhook_dead_letters (webhook, seq) WHERE redeliver_at IS NOT NULL;
