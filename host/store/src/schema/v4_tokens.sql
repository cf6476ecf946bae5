-- Bearer tokens: never the secret, only its SHA-256. A row stays when its token is revoked, so that a name in the audit log always
-- means the same token.
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
