-- The deliveries of a signal stand beside each other, as they are written and read: one page, where each receiver had its own. What waits
-- for an agent is what the partial index is for.
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
