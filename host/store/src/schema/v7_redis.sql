-- This host as a reader of Redis streams: its name in their consumer groups, made once.
CREATE TABLE redis_consumer (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL
) STRICT;

-- How far each stream was read, and in which run of the server: what is behind it in another run is a stream that began anew.
CREATE TABLE redis_streams (
    stream TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    last_entry TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Entries that cannot become signals. A row is there before the entry is in the dead-letter stream.
CREATE TABLE redis_dead_letters (
    stream TEXT NOT NULL,
    entry TEXT NOT NULL,
    content BLOB NOT NULL CHECK (length(content) = 32),
    reason TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (stream, entry, content)
) STRICT, WITHOUT ROWID;
