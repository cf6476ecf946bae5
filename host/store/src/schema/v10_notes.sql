-- Notes are few among many rows: a page of them must not read the whole log. The condition is that of `KIND_OF_NOTE` in `audit_log.rs`.
CREATE INDEX audit_log_notes ON audit_log (kind, seq) WHERE kind IN ('amendment', 'deployment');
