-- Tokens of the Admin API. They are no configuration: no event and no snapshot holds them.

-- Rows are never deleted: who made a token and who revoked it stays on record. The secret itself is
-- nowhere, "hash" is of id and secret (src/log/tokens/mod.rs).
CREATE TABLE admin_tokens (
    id         BLOB    PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL, -- viewer, editor, admin
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL, -- milliseconds since 1970, as all times here
    created_by TEXT    NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    revoked_by TEXT
);

-- A name says who acts, so of the tokens in use only one has it.
CREATE UNIQUE INDEX admin_tokens_name ON admin_tokens (name) WHERE revoked_at IS NULL;
