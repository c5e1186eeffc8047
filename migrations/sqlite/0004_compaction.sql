-- Where the log begins after its oldest events were moved to archives. The newest row counts: rows
-- of "events" up to its "seq" are gone or going, and the config there is stored in full.
CREATE TABLE checkpoints (
    seq         INTEGER PRIMARY KEY,     -- the last event in the archive
    first       INTEGER NOT NULL UNIQUE, -- the first event in the archive
    at          INTEGER NOT NULL,        -- of the last event, as its hash and its config
    hash        BLOB    NOT NULL,
    config_hash BLOB    NOT NULL,
    archive     TEXT    NOT NULL,        -- the name of the file, as it was written
    made_at     INTEGER NOT NULL,        -- milliseconds since 1970
    actor       TEXT    NOT NULL
);

-- What is left of an event whose row is gone and whose config is still stored.
ALTER TABLE snapshots ADD COLUMN at INTEGER;
ALTER TABLE snapshots ADD COLUMN event_hash BLOB;
