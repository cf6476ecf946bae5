-- How far events were sent to a Redis stream. Written at intervals: the stream itself says how far it has come since.
CREATE TABLE redis_events (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    audit_seq INTEGER NOT NULL,
    alert_seq INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
