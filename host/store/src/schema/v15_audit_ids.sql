-- The log had an index of its own for ids, that of a constraint, which was written with every row and was a fifth of what a decision writes. `audit_ids` is
-- derived, and written for many rows at once.
--
-- No statement drops a constraint, and a copy of the log would need as much room again. So the texts of the schema are written over. SQLite's documentation
-- (lang_altertable, "Making Other Kinds Of Table Schema Changes") has that for CHECK and NOT NULL; for a UNIQUE constraint it has the copy, since that has an
-- index besides. Here that index becomes one like any other in the same transaction, and is dropped; a test checks the integrity. Each text is written as a
-- whole, since the one that is there may have other blanks and quotes.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = 'CREATE TABLE audit_log (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    trace_id TEXT,
    agent TEXT,
    action_type TEXT,
    outcome TEXT,
    body TEXT NOT NULL,
    hash BLOB NOT NULL,
    packed BLOB
) STRICT' WHERE type = 'table' AND name = 'audit_log';
UPDATE sqlite_schema SET name = 'ark_schema_15_dropped', sql = 'CREATE UNIQUE INDEX ark_schema_15_dropped ON audit_log (id)'
    WHERE type = 'index' AND name = 'sqlite_autoindex_audit_log_1';
-- For a list of three and more, SQLite makes a table for each statement that writes a row, and drops it again: these say the same by comparisons.
UPDATE sqlite_schema SET sql = 'CREATE TABLE ' || name || ' (
    decision_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN (''open'', ''close'')),
    side TEXT NOT NULL CHECK (side IN (''buy'', ''sell'')),
    size INTEGER NOT NULL CHECK (size >= 0),
    leverage REAL NOT NULL,
    state TEXT NOT NULL CHECK (state = ''new'' OR state = ''partially_filled'' OR state = ''filled'' OR state = ''cancelled'' OR state = ''rejected'' OR state = ''expired''),
    filled INTEGER NOT NULL CHECK (filled >= 0),
    opened INTEGER NOT NULL CHECK (opened >= 0),
    closed INTEGER NOT NULL CHECK (closed BETWEEN 0 AND opened),
    entry_price REAL,
    realised REAL NOT NULL,
    last_realised REAL,
    since INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID' WHERE type = 'table' AND name IN ('orders', 'ended_orders');
UPDATE sqlite_schema SET sql = 'CREATE TABLE deliveries (
    signal_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status = ''pending'' OR status = ''done'' OR status = ''failed''),
    reason TEXT,
    settled_at INTEGER,
    failure TEXT,
    PRIMARY KEY (signal_id, agent)
) STRICT, WITHOUT ROWID' WHERE type = 'table' AND name = 'deliveries';
PRAGMA writable_schema = RESET;
DROP INDEX ark_schema_15_dropped;
-- Into the pages that are free now.
CREATE TABLE audit_ids (
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_ids SELECT id, seq FROM audit_log WHERE seq <= (SELECT indexed_seq FROM derived_until) ORDER BY seq;
