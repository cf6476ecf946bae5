-- Orders in the market by numbers that rise, in the order in which they were approved: SQLite adds a new one to the last page of the table. By the ids of their
-- decisions, it balanced the last page with its neighbours, which was a quarter of the pages that a decision writes.
--
-- No table is renamed: that would change, or be refused for, views that somebody has added.
CREATE TABLE orders_before AS SELECT * FROM orders;
DROP TABLE orders;
CREATE TABLE orders (
    number INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 4611686018427387904),
    decision_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('open', 'close')),
    side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    size INTEGER NOT NULL CHECK (size >= 0),
    leverage REAL NOT NULL,
    state TEXT NOT NULL CHECK (state = 'new' OR state = 'partially_filled' OR state = 'filled' OR state = 'cancelled' OR state = 'rejected' OR state = 'expired'),
    filled INTEGER NOT NULL CHECK (filled >= 0),
    opened INTEGER NOT NULL CHECK (opened >= 0),
    closed INTEGER NOT NULL CHECK (closed BETWEEN 0 AND opened),
    entry_price REAL,
    realised REAL NOT NULL,
    last_realised REAL,
    since INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
INSERT INTO orders (decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised, last_realised, since, expires_at)
    SELECT decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised, last_realised, since, expires_at
    FROM orders_before ORDER BY decision_id;
DROP TABLE orders_before;
