-- transaction
CREATE EXTENSION pg_trgm;

CREATE TABLE docs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    source text NOT NULL,
    text text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX docs_text ON docs USING gin (text gin_trgm_ops);

CREATE INDEX docs_source ON docs (source);

CREATE TABLE repos (
    name text PRIMARY KEY,
    head text,
    files int NOT NULL
);
