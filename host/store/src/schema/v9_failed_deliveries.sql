-- Finds the deliveries that failed, which may be delivered again.
CREATE INDEX deliveries_failed ON deliveries (signal_id, agent) WHERE status = 'failed';
