ALTER TABLE signals ADD COLUMN expires_at INTEGER;
CREATE INDEX signals_expiry ON signals (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE quarantines (
    agent TEXT PRIMARY KEY,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    by TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE halts (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    reason TEXT NOT NULL,
    by TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE watchdog_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    kind TEXT NOT NULL,
    agent TEXT,
    message TEXT NOT NULL,
    observed REAL,
    "limit" REAL
) STRICT;
CREATE INDEX watchdog_events_agent ON watchdog_events (agent, seq);
