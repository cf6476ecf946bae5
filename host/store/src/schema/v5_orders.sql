CREATE INDEX executions_decision ON executions (decision_id);

-- Every approved trade and close is an order, with what is known of its execution. Sizes are in units of 1e-9 of the capital.
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
CREATE INDEX orders_live ON orders (decision_id) WHERE state IN ('new', 'partially_filled') OR opened > closed;

-- Trades. An earlier version kept one size: first what was approved, then what was filled, then what was left. What was approved is in the
-- audit log; what was filled in all is in the reports, or all of it where a final report named no size.
WITH known AS (
    SELECT p.*,
        CAST(round(p.size * 1e9) AS INTEGER) AS rest,
        CAST(round(coalesce(json_extract(a.body, '$.action.parameters.position_size_pct'), p.size) * 1e9) AS INTEGER) AS approved,
        (SELECT CAST(round(max(coalesce(nullif(e.filled, 0.0),
                CASE e.status WHEN 'filled' THEN coalesce(json_extract(a.body, '$.action.parameters.position_size_pct'), p.size) ELSE 0.0 END)) * 1e9) AS INTEGER)
            FROM executions e WHERE e.decision_id = p.decision_id AND e.status <> 'rejected') AS reported,
        (SELECT e.status FROM executions e WHERE e.decision_id = p.decision_id ORDER BY e.at DESC, e.execution_id DESC LIMIT 1) AS last_status
    FROM positions p LEFT JOIN audit_log a ON a.id = p.decision_id
), counted AS (
    SELECT *,
        CASE status
            WHEN 'reserved' THEN 0
            WHEN 'open' THEN CASE last_status WHEN 'partially_filled' THEN min(max(coalesce(reported, 0), 0), rest) ELSE max(coalesce(reported, rest), rest) END
            ELSE max(coalesce(reported, 0), 0)
        END AS filled_in_all
    FROM known
)
INSERT INTO orders (decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised, last_realised, since, expires_at)
SELECT decision_id, agent, symbol, 'open', side, max(approved, 0), leverage,
    CASE status
        WHEN 'reserved' THEN 'new'
        WHEN 'open' THEN CASE last_status WHEN 'partially_filled' THEN 'partially_filled' WHEN 'cancelled' THEN 'cancelled' ELSE 'filled' END
        WHEN 'closed' THEN CASE last_status WHEN 'cancelled' THEN 'cancelled' ELSE 'filled' END
        ELSE CASE last_status WHEN 'cancelled' THEN 'cancelled' WHEN 'rejected' THEN 'rejected' ELSE 'expired' END
    END,
    filled_in_all, filled_in_all,
    CASE status
        WHEN 'reserved' THEN 0
        WHEN 'open' THEN CASE last_status WHEN 'partially_filled' THEN 0 ELSE filled_in_all - rest END
        ELSE filled_in_all
    END,
    NULL, 0.0, NULL, since, expires_at
FROM counted;

-- Closes. An earlier version kept nothing of them but their reports. One without a report does not reserve what it closes any more: its fill is
-- booked when it is reported.
WITH closes AS (
    SELECT a.id, a.agent, a.at,
        json_extract(a.body, '$.action.parameters.symbol') AS symbol,
        json_extract(a.body, '$.action.parameters.position_size_pct') AS wanted
    FROM audit_log a
    WHERE a.kind = 'decision' AND a.action_type = 'close_position' AND a.outcome = 'approved' AND a.agent IS NOT NULL
), reported AS (
    SELECT c.*,
        CAST(round(coalesce(c.wanted, (SELECT sum(p.size) FROM positions p WHERE p.agent = c.agent AND p.symbol = c.symbol AND p.status = 'open'), 0.0) * 1e9) AS INTEGER) AS size,
        (SELECT count(*) FROM executions e WHERE e.decision_id = c.id) AS reports,
        (SELECT CAST(round(max(coalesce(nullif(e.filled, 0.0), CASE e.status WHEN 'filled' THEN coalesce(c.wanted, 1.0) ELSE 0.0 END)) * 1e9) AS INTEGER)
            FROM executions e WHERE e.decision_id = c.id AND e.status <> 'rejected') AS filled,
        (SELECT e.status FROM executions e WHERE e.decision_id = c.id ORDER BY e.at DESC, e.execution_id DESC LIMIT 1) AS last_status,
        (SELECT coalesce(sum(e.realised), 0.0) FROM executions e WHERE e.decision_id = c.id) AS realised
    FROM closes c WHERE c.symbol IS NOT NULL
)
INSERT INTO orders (decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised, last_realised, since, expires_at)
SELECT id, agent, symbol, 'close', 'sell', max(size, 0), 1.0,
    CASE WHEN reports = 0 THEN 'expired' ELSE coalesce(last_status, 'expired') END,
    max(coalesce(filled, 0), 0), 0, 0, NULL, realised, NULL, at, NULL
FROM reported
WHERE true
ON CONFLICT (decision_id) DO NOTHING;

DROP TABLE positions;

-- The ids of reports are unique for their reporter: the name of the token they came with, or '' for a caller without one.
CREATE TABLE executions_next (
    reporter TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    status TEXT NOT NULL,
    filled REAL,
    price REAL,
    realised REAL,
    at INTEGER NOT NULL,
    PRIMARY KEY (reporter, execution_id)
) STRICT, WITHOUT ROWID;
INSERT INTO executions_next (reporter, execution_id, decision_id, status, filled, price, realised, at)
SELECT coalesce((SELECT json_extract(a.body, '$.by') FROM idempotency i JOIN audit_log a ON a.id = i.answer_id
        WHERE i.scope = 'execution:' AND i.key = e.execution_id), ''),
    e.execution_id, e.decision_id, e.status, e.filled, e.price, e.realised, e.at
FROM executions e;
DROP TABLE executions;
ALTER TABLE executions_next RENAME TO executions;
CREATE INDEX executions_decision ON executions (decision_id);
UPDATE idempotency SET scope = 'execution:' || coalesce((SELECT json_extract(a.body, '$.by') FROM audit_log a WHERE a.id = idempotency.answer_id), '')
WHERE scope = 'execution:';

-- A promotion counts for its sender alone, or for every agent that sells.
CREATE TABLE promotions_next (
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    account_wide INTEGER NOT NULL CHECK (account_wide IN (0, 1)),
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, symbol, account_wide)
) STRICT, WITHOUT ROWID;
INSERT INTO promotions_next (agent, symbol, account_wide, at) SELECT agent, symbol, 0, at FROM promotions;
DROP TABLE promotions;
ALTER TABLE promotions_next RENAME TO promotions;

-- The role `executor`: reporting executions is a right of its own.
CREATE TABLE tokens_next (
    name TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    role TEXT NOT NULL CHECK (role IN ('reader', 'submitter', 'executor', 'approver', 'operator', 'admin')),
    agents TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_by TEXT,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO tokens_next (name, hash, role, agents, created_by, created_at, expires_at, revoked_by, revoked_at)
SELECT name, hash, role, agents, created_by, created_at, expires_at, revoked_by, revoked_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_next RENAME TO tokens;
