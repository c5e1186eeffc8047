-- Which control plane hears a data plane, and which control planes there are, so that each of a
-- database tells of all data planes. Nothing here is decided by comparing times of two machines:
-- who is alive shows by a beat that grows, and who was heard last by who stored its row last.

ALTER TABLE data_planes ADD COLUMN heard_by BLOB; -- of control_planes
ALTER TABLE data_planes ADD COLUMN revision INTEGER NOT NULL DEFAULT 0; -- as fleet_revision then

CREATE INDEX data_planes_revision ON data_planes (revision);

-- A control plane that runs, by an id that it draws when it starts.
CREATE TABLE control_planes (
    id       BLOB    PRIMARY KEY,
    node_id  BLOB    NOT NULL,
    hostname TEXT    NOT NULL,
    beat     INTEGER NOT NULL -- grows every few seconds
) WITHOUT ROWID;

-- One row. Whoever stores data planes raises it first, so that they are stored in its order.
CREATE TABLE fleet_revision (
    one      INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL
);

INSERT INTO fleet_revision (one, revision) VALUES (1, 0);
