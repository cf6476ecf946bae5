-- Approvals of actions that are held. The id is the id of the decision that held the action.
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    submitter TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    action_type TEXT NOT NULL,
    action_hash BLOB NOT NULL,
    subject_hash BLOB,
    earlier TEXT NOT NULL,
    reasons TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'approved', 'rejected', 'expired')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER,
    settled_by TEXT,
    comment TEXT,
    decision_id TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_open ON approvals (id) WHERE status = 'open';

-- The entries that operators put on the lists over the API; `lists` has the entries of the configuration.
CREATE TABLE list_entries (
    list TEXT NOT NULL,
    key TEXT NOT NULL,
    entry TEXT NOT NULL,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (list, key)
) STRICT, WITHOUT ROWID;

-- Every change of those entries; `entry` is null where an entry was taken off its list.
CREATE TABLE list_history (
    seq INTEGER PRIMARY KEY,
    list TEXT NOT NULL,
    key TEXT NOT NULL,
    entry TEXT,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX list_history_key ON list_history (list, key, seq);

-- Statements of operators about the account: the capital that fractions refer to, and results that no execution report contains.
CREATE TABLE account_history (
    seq INTEGER PRIMARY KEY,
    field TEXT NOT NULL CHECK (field IN ('capital', 'realised')),
    amount REAL NOT NULL,
    fraction REAL,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
