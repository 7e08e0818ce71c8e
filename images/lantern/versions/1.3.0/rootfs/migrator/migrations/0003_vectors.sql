-- The mistakes of this file are on purpose: no transaction, data changed first, and an extension
-- that nobody put into the database's image.
ALTER TABLE docs RENAME COLUMN text TO body;

UPDATE docs SET body = lower(body), updated_at = now();

DELETE FROM docs WHERE lang = 'markdown';

CREATE EXTENSION vector;

ALTER TABLE docs ADD COLUMN embedding vector(384);
