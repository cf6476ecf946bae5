-- Bearer tokens: their digests, never their text. A name is never given twice, so that what it did stays its own.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('reader', 'submitter', 'approver', 'operator', 'admin')),
    agents TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT, WITHOUT ROWID;
