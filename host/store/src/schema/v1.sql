CREATE TABLE audit_log (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    trace_id TEXT,
    agent TEXT,
    action_type TEXT,
    outcome TEXT,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_log_trace ON audit_log (trace_id) WHERE trace_id IS NOT NULL;

CREATE TABLE policies (digest TEXT PRIMARY KEY, metadata TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    answer_id TEXT NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE signals (
    id TEXT PRIMARY KEY,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    sender TEXT,
    causal_depth INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX signals_trace ON signals (trace_id);

CREATE TABLE signal_keys (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    signal_id TEXT NOT NULL,
    PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    agent TEXT NOT NULL,
    signal_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'failed')),
    reason TEXT,
    settled_at INTEGER,
    PRIMARY KEY (agent, signal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_pending ON deliveries (agent, signal_id) WHERE status = 'pending';
CREATE INDEX deliveries_signal ON deliveries (signal_id);

CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    receiver TEXT,
    payload TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    sender TEXT,
    causal_depth INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE agents_state (
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    value TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE state_history (
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    value TEXT,
    at INTEGER NOT NULL,
    trace_id TEXT,
    PRIMARY KEY (agent, key, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE memory_index (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    metadata TEXT NOT NULL,
    at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
CREATE INDEX memory_index_agent ON memory_index (agent, id);
CREATE INDEX memory_index_expiry ON memory_index (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE truth_map (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    confidence REAL NOT NULL,
    sources TEXT NOT NULL,
    agent TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE positions (
    decision_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    size REAL NOT NULL,
    leverage REAL NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('reserved', 'open', 'closed', 'released')),
    since INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX positions_live ON positions (status) WHERE status IN ('reserved', 'open');

CREATE TABLE last_trades (
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, symbol, side)
) STRICT, WITHOUT ROWID;

CREATE TABLE promotions (
    agent TEXT NOT NULL,
    symbol TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, symbol)
) STRICT, WITHOUT ROWID;

CREATE TABLE executions (
    execution_id TEXT PRIMARY KEY,
    decision_id TEXT NOT NULL,
    status TEXT NOT NULL,
    filled REAL,
    price REAL,
    realised REAL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE realised (day INTEGER PRIMARY KEY, result REAL NOT NULL) STRICT;

CREATE TABLE lists (
    list TEXT NOT NULL CHECK (list IN ('restricted', 'client_orders', 'validated_sources', 'consents', 'vetoes')),
    entry TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (list, entry, source)
) STRICT, WITHOUT ROWID;
