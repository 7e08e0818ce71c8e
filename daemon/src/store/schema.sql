-- One row a fact that there is only one of: `installed`, `trust`, `run`.
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- Every release whose signature was verified.
CREATE TABLE releases (
    version TEXT PRIMARY KEY,
    digest  TEXT NOT NULL,
    bytes   BLOB NOT NULL,
    fetched INTEGER NOT NULL DEFAULT 0,  -- every image is in Docker, durably
    failed  TEXT                         -- why it is quarantined
) STRICT;

-- Releases that the channel offers, verified.
CREATE TABLE offered (
    version TEXT PRIMARY KEY,
    digest  TEXT NOT NULL,
    bytes   BLOB NOT NULL
) STRICT;

-- What the admin set.
CREATE TABLE config (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- Every update, rollback and reconfiguration.
CREATE TABLE runs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    plan    TEXT NOT NULL,
    "values" TEXT NOT NULL,
    hop     INTEGER NOT NULL DEFAULT 0,
    phase   TEXT NOT NULL,
    started TEXT NOT NULL,
    ended   TEXT,
    outcome TEXT,
    failure TEXT                         -- the first thing that went wrong
) STRICT;

-- The journal: intent and outcome of every step.
CREATE TABLE entries (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    run    INTEGER NOT NULL REFERENCES runs (id),
    hop    INTEGER NOT NULL,
    at     TEXT NOT NULL,
    phase  TEXT NOT NULL,
    event  TEXT NOT NULL,                -- begun, done, failed, cut, resumed
    detail TEXT NOT NULL DEFAULT ''
) STRICT;

-- What the supervisor mended; only the last of it is kept.
CREATE TABLE mended (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      TEXT NOT NULL,
    service TEXT NOT NULL,
    what    TEXT NOT NULL
) STRICT;

-- What a run made and an undo must know: `volume <name>`, `snapshot <volume>` with its identity.
CREATE TABLE notes (
    run    INTEGER NOT NULL REFERENCES runs (id),
    hop    INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run, hop, kind, name)
) STRICT;

-- What waits to be told, and the last that was: one row an announcement and receiver.
CREATE TABLE outbox (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT NOT NULL,
    letter   TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'waiting', -- waiting, delivered, failed
    tries    INTEGER NOT NULL DEFAULT 0,
    due      INTEGER NOT NULL,           -- when it is tried, or was delivered or given up: ms
    error    TEXT                        -- why the last try failed
) STRICT;
CREATE INDEX outbox_lines ON outbox (receiver, state, seq);

-- What was told of a topic, so that it is told once.
CREATE TABLE told (topic TEXT PRIMARY KEY, what TEXT NOT NULL) STRICT;
