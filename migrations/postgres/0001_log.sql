-- The event log and what is stored beside it, as in migrations/sqlite. Never edit a released
-- migration: add one.

-- One accepted write a row. "hash" covers every other column (the byte layout is in
-- src/log/row.rs) and "prev_hash" is the hash of the row before. The primary key decides which of
-- two control planes wrote first.
CREATE TABLE events (
    seq         BIGINT PRIMARY KEY,
    format      BIGINT NOT NULL,
    at          BIGINT NOT NULL, -- microseconds since 1970
    actor       TEXT   NOT NULL,
    request_id  TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    kind        TEXT   NOT NULL, -- written, imported, rolled_back
    reason      TEXT,
    config_hash BYTEA  NOT NULL,
    prev_hash   BYTEA  NOT NULL,
    hash        BYTEA  NOT NULL,
    changes     TEXT   NOT NULL
);

CREATE INDEX events_config_hash ON events (config_hash);

-- What there is one of: cluster_id, signing_key.
CREATE TABLE meta (
    name  TEXT  PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Nodes of hash trees, shared between snapshots.
CREATE TABLE nodes (
    hash  BYTEA PRIMARY KEY,
    bytes BYTEA NOT NULL
);

-- Positions whose whole tree is in "nodes". A config can be in force at many positions.
CREATE TABLE snapshots (
    seq         BIGINT PRIMARY KEY,
    config_hash BYTEA  NOT NULL
);

-- Data planes as a control plane last saw them.
CREATE TABLE data_planes (
    id         BYTEA  PRIMARY KEY,
    row        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL -- milliseconds since 1970
);

-- The other control planes hear of new rows at once. What they hear is a hint: they read the table
-- to know. Notifications are for the whole database, so the channel is of the schema.
CREATE FUNCTION hybridctl_channel() RETURNS TEXT LANGUAGE sql STABLE AS
    $$ SELECT 'hybridctl_' || md5(current_schema()) $$;

CREATE FUNCTION hybridctl_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(hybridctl_channel(), max(seq)::TEXT) FROM appended HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER events_announce AFTER INSERT ON events
    REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION hybridctl_announce();
