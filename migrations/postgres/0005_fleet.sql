-- As in migrations/sqlite.

ALTER TABLE data_planes ADD COLUMN heard_by BYTEA; -- of control_planes
ALTER TABLE data_planes ADD COLUMN revision BIGINT NOT NULL DEFAULT 0; -- as fleet_revision then

CREATE INDEX data_planes_revision ON data_planes (revision);

-- A control plane that runs, by an id that it draws when it starts.
CREATE TABLE control_planes (
    id       BYTEA  PRIMARY KEY,
    node_id  BYTEA  NOT NULL,
    hostname TEXT   NOT NULL,
    beat     BIGINT NOT NULL -- grows every few seconds
);

-- One row. Whoever stores data planes raises it first, so that they are stored in its order.
CREATE TABLE fleet_revision (
    one      BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);

INSERT INTO fleet_revision (one, revision) VALUES (1, 0);
