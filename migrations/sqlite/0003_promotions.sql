-- Decisions on which data planes get which config: freezes, pins and rollouts. Like the log this
-- table only grows, and the key decides races between control planes. What is in force is what
-- follows from all rows in order (src/promotion/state.rs).

CREATE TABLE promotions (
    id       INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL, -- milliseconds since 1970
    actor    TEXT    NOT NULL,
    source   TEXT    NOT NULL, -- admin-api, cli, control-plane
    reason   TEXT,
    decision TEXT    NOT NULL  -- JSON (src/promotion/decision.rs)
);
