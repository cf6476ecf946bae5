-- Orders that are over and of which nothing is open, apart from those in the market: these are loaded at each start, and need no index of their own.
CREATE TABLE ended_orders (
    decision_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('open', 'close')),
    side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    size INTEGER NOT NULL CHECK (size >= 0),
    leverage REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('filled', 'cancelled', 'rejected', 'expired')),
    filled INTEGER NOT NULL CHECK (filled >= 0),
    opened INTEGER NOT NULL CHECK (opened >= 0),
    closed INTEGER NOT NULL CHECK (closed BETWEEN 0 AND opened),
    entry_price REAL,
    realised REAL NOT NULL,
    last_realised REAL,
    since INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO ended_orders (decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised, last_realised, since, expires_at)
SELECT decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised, last_realised, since, expires_at
FROM orders WHERE state NOT IN ('new', 'partially_filled') AND opened <= closed;
DELETE FROM orders WHERE state NOT IN ('new', 'partially_filled') AND opened <= closed;
DROP INDEX orders_live;
