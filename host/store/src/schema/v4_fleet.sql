-- This host's cursor in a fleet: its name there, the last audit row whose order was published, and the others' last order that was applied.
CREATE TABLE fleet (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    published INTEGER NOT NULL,
    read TEXT NOT NULL
) STRICT;
