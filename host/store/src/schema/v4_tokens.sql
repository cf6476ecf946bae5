-- Bearer tokens. Only the SHA-256 of a secret is stored. The row of a revoked token stays, so that a name in the audit log always means
-- the same token.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    role TEXT NOT NULL CHECK (role IN ('reader', 'submitter', 'approver', 'operator', 'admin')),
    agents TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_by TEXT,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
