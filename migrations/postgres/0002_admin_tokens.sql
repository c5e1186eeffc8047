-- Tokens of the Admin API, as in migrations/sqlite: no configuration, no event, never deleted.

CREATE TABLE admin_tokens (
    id         BYTEA  PRIMARY KEY,
    name       TEXT   NOT NULL,
    role       TEXT   NOT NULL, -- viewer, editor, admin
    hash       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL, -- milliseconds since 1970, as all times here
    created_by TEXT   NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT
);

-- A name says who acts, so of the tokens in use only one has it.
CREATE UNIQUE INDEX admin_tokens_name ON admin_tokens (name) WHERE revoked_at IS NULL;
