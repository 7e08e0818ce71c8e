-- transaction
-- The default lets 1.0.0 go on inserting.
ALTER TABLE docs ADD COLUMN lang text NOT NULL DEFAULT 'text';

UPDATE docs SET lang = CASE
    WHEN name ~ '\.rs$' THEN 'rust'
    WHEN name ~ '\.py$' THEN 'python'
    WHEN name ~ '\.go$' THEN 'go'
    WHEN name ~ '\.[ch]$' THEN 'c'
    WHEN name ~ '\.sh$' THEN 'shell'
    WHEN name ~ '\.md$' THEN 'markdown'
    ELSE 'text'
END;

CREATE INDEX docs_lang ON docs (lang);
