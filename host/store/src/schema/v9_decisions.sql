-- What a list of decisions shows and searches, so that the records themselves are not read for it: a row for each decision of the audit log.
-- `latest_at` is the latest time of the row and of all before it: the clock may have been set back.
CREATE TABLE decision_index (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    latest_at INTEGER NOT NULL,
    agent TEXT,
    action_type TEXT,
    outcome TEXT,
    symbol TEXT,
    instrument TEXT,
    size REAL,
    fired TEXT
) STRICT;
CREATE INDEX decision_index_instrument ON decision_index (instrument, seq) WHERE instrument IS NOT NULL;
