-- The rows of the indices of the audit log may be written later than the lines of the session log, see tables/audit/derived.rs: `seq` is the last audit row
-- that has its line, `indexed_seq` the last that has its rows of the indices.
ALTER TABLE derived_until ADD COLUMN indexed_seq INTEGER NOT NULL DEFAULT 0 CHECK (indexed_seq >= 0);
UPDATE derived_until SET indexed_seq = seq;
-- Agents handle the same signals at about the same time. Ordered by the signal, what is pending changes on few pages; ordered by the agent, each delivery
-- changed a page of its own.
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_pending ON deliveries (signal_id, agent) WHERE status = 'pending';
-- Which audit rows belong to a trace. An index of the log itself would be written with every row.
CREATE TABLE audit_traces (
    trace_id BLOB NOT NULL CHECK (length(trace_id) = 16),
    seq INTEGER NOT NULL,
    PRIMARY KEY (trace_id, seq)
) STRICT, WITHOUT ROWID;
-- Somebody may have changed a text into what no trace is.
INSERT INTO audit_traces SELECT unhex(trace_id), seq FROM audit_log
    WHERE trace_id IS NOT NULL AND length(unhex(trace_id)) = 16 AND seq <= (SELECT seq FROM derived_until) ORDER BY trace_id, seq;
DROP INDEX audit_log_trace;
