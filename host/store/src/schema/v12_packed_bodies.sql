-- The bodies of decisions are packed (tables/audit/packing.rs): `packed` has the number of the dictionary in four bytes, then a zstd frame, and `body` is
-- empty. Rows of before stay as they are. One column, since SQLite reads the whole table for each that is added to a strict table.
CREATE TABLE audit_dictionaries (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 4),
    bytes BLOB NOT NULL
) STRICT;
ALTER TABLE audit_log ADD COLUMN packed BLOB;
