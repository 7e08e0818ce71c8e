-- transaction
-- Each text once. There is no way back: 1.3 and older look for docs.text.
CREATE TABLE blobs (
    sha256 bytea PRIMARY KEY,
    text text NOT NULL
);

INSERT INTO blobs (sha256, text)
SELECT DISTINCT ON (1) sha256(convert_to(text, 'UTF8')), text FROM docs;

ALTER TABLE docs ADD COLUMN blob bytea REFERENCES blobs (sha256);

UPDATE docs SET blob = sha256(convert_to(text, 'UTF8'));

ALTER TABLE docs ALTER COLUMN blob SET NOT NULL;

ALTER TABLE docs DROP COLUMN text;

CREATE INDEX blobs_text ON blobs USING gin (text gin_trgm_ops);
