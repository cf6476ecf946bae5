-- This host's place in a fleet: its own name in it, how far its orders are handed on, and how far the others' are read.
CREATE TABLE fleet (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    published INTEGER NOT NULL,
    read TEXT NOT NULL
) STRICT;
