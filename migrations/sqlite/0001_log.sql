-- The event log and what is stored beside it. Never edit a released migration: add one.

-- One accepted write a row. "hash" covers every other column (the byte layout is in
-- src/log/row.rs) and "prev_hash" is the hash of the row before.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    format      INTEGER NOT NULL,
    at          INTEGER NOT NULL, -- microseconds since 1970
    actor       TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    kind        TEXT    NOT NULL, -- written, imported, rolled_back
    reason      TEXT,
    config_hash BLOB    NOT NULL,
    prev_hash   BLOB    NOT NULL,
    hash        BLOB    NOT NULL,
    changes     TEXT    NOT NULL
);

CREATE INDEX events_config_hash ON events (config_hash);

-- What there is one of: cluster_id, signing_key.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- Nodes of hash trees, shared between snapshots.
CREATE TABLE nodes (
    hash  BLOB PRIMARY KEY,
    bytes BLOB NOT NULL
);

-- Positions whose whole tree is in "nodes". A config can be in force at many positions.
CREATE TABLE snapshots (
    seq         INTEGER PRIMARY KEY,
    config_hash BLOB NOT NULL
);

-- Data planes as a control plane last saw them.
CREATE TABLE data_planes (
    id         BLOB PRIMARY KEY,
    row        TEXT    NOT NULL,
    expires_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;
