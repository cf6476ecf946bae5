-- Operator policies: every component and all settings that were ever in force, so that each of their decisions can be replayed. They are
-- kept for good, each once, by the SHA-256 of the bytes or of the canonical text.
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
    -- Rises for each name. A number is not given again.
    number   INTEGER NOT NULL CHECK (number > 0),
    sha256   BLOB NOT NULL REFERENCES policy_components (sha256),
    settings BLOB REFERENCES policy_settings (sha256),
    -- The version that the component states.
    version  TEXT NOT NULL,
    -- How many test vectors the component contains.
    vectors  INTEGER NOT NULL,
    -- Where the version is from, and the mode it was submitted for.
    source   TEXT NOT NULL CHECK (source IN ('configuration', 'directory', 'api')),
    mode     TEXT NOT NULL CHECK (mode IN ('enforce', 'shadow')),
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (policy, number)
) STRICT, WITHOUT ROWID;

-- What is in force under a name.
CREATE TABLE policy_slots (
    policy      TEXT PRIMARY KEY NOT NULL,
    -- The source that controls the slot.
    source      TEXT NOT NULL CHECK (source IN ('configuration', 'directory', 'api')),
    -- The place in the sequence: policies with lower numbers judge first, those with equal numbers by name.
    place       INTEGER NOT NULL,
    -- The version whose verdict is enforced, the one that judges in shadow, and the one that was enforced before; null: none.
    enforced    INTEGER,
    shadow      INTEGER,
    previous    INTEGER,
    last_number INTEGER NOT NULL,
    -- Rises with every change of the slot.
    revision    INTEGER NOT NULL,
    by          TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
