-- Operator policies: every component and all settings that were ever in force, so that whatever they judged can be judged again. They
-- are kept for good, each once, by the SHA-256 of the bytes or of the canonical text.
CREATE TABLE policy_components (
    sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32),
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE policy_settings (
    sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32),
    json   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A version is a component with settings.
CREATE TABLE policy_versions (
    policy   TEXT NOT NULL,
    -- Rising for each name; never given twice.
    number   INTEGER NOT NULL CHECK (number > 0),
    sha256   BLOB NOT NULL REFERENCES policy_components (sha256),
    settings BLOB REFERENCES policy_settings (sha256),
    -- What the component says of itself.
    version  TEXT NOT NULL,
    -- How many test vectors it carries; 0: none.
    vectors  INTEGER NOT NULL,
    -- Where it is from, and as what it came.
    source   TEXT NOT NULL CHECK (source IN ('configuration', 'directory', 'api')),
    mode     TEXT NOT NULL CHECK (mode IN ('enforce', 'shadow')),
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (policy, number)
) STRICT, WITHOUT ROWID;

-- What is in force under a name.
CREATE TABLE policy_slots (
    policy      TEXT PRIMARY KEY NOT NULL,
    -- Who has the say over it.
    source      TEXT NOT NULL CHECK (source IN ('configuration', 'directory', 'api')),
    -- Its place among the others: lower ones are asked first, equal ones by name.
    place       INTEGER NOT NULL,
    -- The version whose verdict counts, the one on trial beside it, and the one that counted before; null: none.
    enforced    INTEGER,
    shadow      INTEGER,
    previous    INTEGER,
    last_number INTEGER NOT NULL,
    -- Rises with every change.
    revision    INTEGER NOT NULL,
    by          TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
