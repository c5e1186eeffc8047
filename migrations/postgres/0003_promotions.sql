-- Decisions on promotion, as in migrations/sqlite: they only grow, and the key decides races.

CREATE TABLE promotions (
    id       BIGINT PRIMARY KEY,
    at       BIGINT NOT NULL, -- milliseconds since 1970
    actor    TEXT   NOT NULL,
    source   TEXT   NOT NULL, -- admin-api, cli, control-plane
    reason   TEXT,
    decision TEXT   NOT NULL  -- JSON (src/promotion/decision.rs)
);
