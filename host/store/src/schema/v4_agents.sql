-- Versions of agents that were uploaded, and which of them serves.
CREATE TABLE agent_components (
    sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32),
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE agent_versions (
    agent    TEXT NOT NULL,
    -- Rising for each agent; never given twice, not even when a version is dropped.
    number   INTEGER NOT NULL CHECK (number > 0),
    sha256   BLOB NOT NULL REFERENCES agent_components (sha256),
    manifest TEXT NOT NULL,
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (agent, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_rollouts (
    agent       TEXT PRIMARY KEY NOT NULL,
    -- Which version serves; 0: that of the agents' directory; null: none.
    serving     INTEGER,
    -- Which one served before it.
    previous    INTEGER,
    last_number INTEGER NOT NULL,
    -- The version on trial beside the one that serves, and its part of the signals.
    canary      INTEGER,
    share       REAL CHECK (share > 0 AND share <= 1),
    by          TEXT NOT NULL,
    at          INTEGER NOT NULL,
    CHECK ((canary IS NULL) = (share IS NULL))
) STRICT, WITHOUT ROWID;
