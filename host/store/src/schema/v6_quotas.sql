-- How much is kept for each consumer: `agent:NAME`, `token:NAME`, or `local` for callers of a host without tokens. The writer keeps it
-- (usage.rs, which says what counts). Here it is counted once, for the agents; 128 is what a row counts beside its texts.
CREATE TABLE quota_usage (
    consumer      TEXT PRIMARY KEY NOT NULL,
    stored_bytes INTEGER NOT NULL CHECK (stored_bytes >= 0),
    keys         INTEGER NOT NULL CHECK (keys >= 0),
    memories     INTEGER NOT NULL CHECK (memories >= 0)
) STRICT, WITHOUT ROWID;
INSERT INTO quota_usage (consumer, stored_bytes, keys, memories)
SELECT 'agent:' || agent, sum(bytes), sum(keys), sum(memories) FROM (
    SELECT agent, octet_length(key) + coalesce(octet_length(value), 0) + 128 AS bytes, 0 AS keys, 0 AS memories
        FROM state_history WHERE origin = 'agent'
    UNION ALL SELECT agent, octet_length(value), 1, 0 FROM agents_state WHERE value IS NOT NULL
    UNION ALL SELECT agent, octet_length(kind) + 2 * octet_length(content) + octet_length(metadata) + 128, 0, 1 FROM memory_index
    UNION ALL SELECT agent, octet_length(key) + octet_length(value) + octet_length(sources) + 128, 0, 0 FROM truth_history
    UNION ALL SELECT sender, octet_length(topic) + octet_length(payload) + 128, 0, 0 FROM signals WHERE sender IS NOT NULL
    UNION ALL SELECT sender, octet_length(topic) + octet_length(payload) + 128, 0, 0 FROM outbox WHERE sender IS NOT NULL
    UNION ALL SELECT s.sender, 128, 0, 0 FROM signals s JOIN deliveries d ON d.signal_id = s.id WHERE s.sender IS NOT NULL
) GROUP BY agent;
