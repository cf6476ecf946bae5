-- Versions of agents that were uploaded, and which version serves.
CREATE TABLE agent_components (
    sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32),
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE agent_versions (
    agent    TEXT NOT NULL,
    -- Rises for each agent. A number is not given again, also when its version was deleted.
    number   INTEGER NOT NULL CHECK (number > 0),
    sha256   BLOB NOT NULL REFERENCES agent_components (sha256),
    manifest TEXT NOT NULL,
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (agent, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_rollouts (
    agent       TEXT PRIMARY KEY NOT NULL,
    -- The version that serves; 0: the version of the agents' directory; null: no version.
    serving     INTEGER,
    -- The version that served before.
    previous    INTEGER,
    last_number INTEGER NOT NULL,
    -- The version on trial beside the one that serves, and its share of the signals.
    canary      INTEGER,
    share       REAL CHECK (share > 0 AND share <= 1),
    by          TEXT NOT NULL,
    at          INTEGER NOT NULL,
    CHECK ((canary IS NULL) = (share IS NULL))
) STRICT, WITHOUT ROWID;
