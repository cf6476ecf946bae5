-- The bodies of decisions are packed (tables/audit/packing.rs): `packed` has a zstd frame, `dictionary` the number of the dictionary that it was
-- compressed with, and `body` is empty. Rows of before stay as they are.
CREATE TABLE audit_dictionaries (
    id INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
ALTER TABLE audit_log ADD COLUMN packed BLOB;
ALTER TABLE audit_log ADD COLUMN dictionary INTEGER;
