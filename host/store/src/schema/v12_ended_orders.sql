-- Orders that are over and of which nothing is open are apart from those in the market: these are loaded at each start, and need no index of their own.
-- Nearly all are over, so the table gets the new name and those in the market move.
DROP INDEX orders_live;
ALTER TABLE orders RENAME TO ended_orders;
CREATE TABLE orders (
    decision_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('open', 'close')),
    side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    size INTEGER NOT NULL CHECK (size >= 0),
    leverage REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('new', 'partially_filled', 'filled', 'cancelled', 'rejected', 'expired')),
    filled INTEGER NOT NULL CHECK (filled >= 0),
    opened INTEGER NOT NULL CHECK (opened >= 0),
    closed INTEGER NOT NULL CHECK (closed BETWEEN 0 AND opened),
    entry_price REAL,
    realised REAL NOT NULL,
    last_realised REAL,
    since INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO orders SELECT * FROM ended_orders WHERE state IN ('new', 'partially_filled') OR opened > closed;
DELETE FROM ended_orders WHERE state IN ('new', 'partially_filled') OR opened > closed;
