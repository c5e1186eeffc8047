-- Where the log begins after its oldest events were moved to archives, as in migrations/sqlite.
CREATE TABLE checkpoints (
    seq         BIGINT PRIMARY KEY,     -- the last event in the archive
    first       BIGINT NOT NULL UNIQUE, -- the first event in the archive
    at          BIGINT NOT NULL,        -- of the last event, as its hash and its config
    hash        BYTEA  NOT NULL,
    config_hash BYTEA  NOT NULL,
    archive     TEXT   NOT NULL,        -- the name of the file, as it was written
    made_at     BIGINT NOT NULL,        -- milliseconds since 1970
    actor       TEXT   NOT NULL
);

-- What is left of an event whose row is gone and whose config is still stored.
ALTER TABLE snapshots ADD COLUMN at BIGINT;
ALTER TABLE snapshots ADD COLUMN event_hash BYTEA;
