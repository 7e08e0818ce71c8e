-- transaction
CREATE TABLE crawls (
    name text PRIMARY KEY,
    head text,
    files int NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now()
);

INSERT INTO crawls (name, head, files) SELECT name, head, files FROM repos;

DROP TABLE repos;
