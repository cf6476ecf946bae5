-- The Mutable Core: a verifiable history, secrets, configuration, truths with history, the session log, full-text search, archives.

ALTER TABLE agents_state ADD COLUMN key_id TEXT;

-- The migration (schema/migrations.rs) copies the rows into the new table, computes their hashes and then drops the old table.
ALTER TABLE state_history RENAME TO state_history_before;
CREATE TABLE state_history (
    seq INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    value TEXT,
    key_id TEXT,
    digest BLOB,
    at INTEGER NOT NULL,
    trace_id TEXT,
    origin TEXT NOT NULL,
    hash BLOB NOT NULL,
    UNIQUE (agent, key, revision)
) STRICT;

CREATE VIRTUAL TABLE memory_text USING fts5 (
    content, content = 'memory_index', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO memory_text (memory_text) VALUES ('rebuild');
CREATE TRIGGER memory_added AFTER INSERT ON memory_index BEGIN
    INSERT INTO memory_text (rowid, content) VALUES (new.id, new.content);
END;
CREATE TRIGGER memory_dropped AFTER DELETE ON memory_index BEGIN
    INSERT INTO memory_text (memory_text, rowid, content) VALUES ('delete', old.id, old.content);
END;

CREATE TABLE system_config (
    key TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    value TEXT,
    description TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE config_history (
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    value TEXT,
    description TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (key, revision)
) STRICT, WITHOUT ROWID;

ALTER TABLE truth_map ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
CREATE TABLE truth_history (
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    value TEXT NOT NULL,
    confidence REAL NOT NULL,
    sources TEXT NOT NULL,
    agent TEXT NOT NULL,
    at INTEGER NOT NULL,
    trace_id TEXT,
    PRIMARY KEY (key, revision)
) STRICT, WITHOUT ROWID;
INSERT INTO truth_history (key, revision, value, confidence, sources, agent, at)
    SELECT key, 1, value, confidence, sources, agent, at FROM truth_map;

CREATE TABLE session_log (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    agent TEXT,
    action_type TEXT,
    result TEXT NOT NULL,
    trace_id TEXT,
    reference TEXT NOT NULL
) STRICT;
INSERT INTO session_log (at, kind, agent, action_type, result, trace_id, reference)
    SELECT at, kind, agent, action_type, coalesce(outcome, iif(kind = 'failure', 'failed', 'done')), trace_id, id
    FROM audit_log ORDER BY seq;

CREATE TABLE audit_archives (
    last_seq INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    file TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;
