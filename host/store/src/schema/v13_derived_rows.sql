-- Up to which row of the audit log the session log and the index of decisions are written: see tables/audit/derived.rs.
CREATE TABLE derived_until (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    seq INTEGER NOT NULL CHECK (seq >= 0)
) STRICT;
INSERT INTO derived_until SELECT 0, coalesce((SELECT max(seq) FROM audit_log), (SELECT max(last_seq) FROM audit_archives), 0);
