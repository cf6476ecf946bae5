-- `failure` is the id of the row of the audit log about the failure of a delivery.
ALTER TABLE deliveries ADD COLUMN failure TEXT;
UPDATE deliveries SET failure = found.id
    FROM (SELECT json_extract(body, '$.signal_id') AS signal_id, agent, id, max(seq) FROM audit_log
        WHERE kind = 'failure' AND json_valid(body) GROUP BY 1, 2) AS found
    WHERE deliveries.signal_id = found.signal_id AND deliveries.agent = found.agent AND deliveries.status = 'failed';
-- They find the deliveries that failed, which may be delivered again: all, and those of an agent.
CREATE INDEX deliveries_failed ON deliveries (signal_id, agent) WHERE status = 'failed';
CREATE INDEX deliveries_failed_of_agent ON deliveries (agent, signal_id) WHERE status = 'failed';
