-- The key begins with the signal, so that all deliveries of a signal are on one page, as they are written and read together. The partial
-- index finds the pending deliveries of an agent.
CREATE TABLE deliveries_by_signal (
    signal_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'failed')),
    reason TEXT,
    settled_at INTEGER,
    PRIMARY KEY (signal_id, agent)
) STRICT, WITHOUT ROWID;
INSERT INTO deliveries_by_signal (signal_id, agent, status, reason, settled_at)
    SELECT signal_id, agent, status, reason, settled_at FROM deliveries ORDER BY signal_id, agent;
DROP TABLE deliveries;
ALTER TABLE deliveries_by_signal RENAME TO deliveries;
CREATE INDEX deliveries_pending ON deliveries (agent, signal_id) WHERE status = 'pending';
