-- Declarations, sets and assignments that are out of use may be deleted once their organisation does not want to keep them
-- any more, and contents that no declaration has and no list names.
-- This file has been applied somewhere: never edit it, add the next one.

-- removed, ended: since when it is out of use. content: the present content of a declaration.
ALTER TABLE declarations ADD COLUMN removed INTEGER;
ALTER TABLE declarations ADD COLUMN content INTEGER;
ALTER TABLE declaration_sets ADD COLUMN removed INTEGER;
ALTER TABLE declaration_assignments ADD COLUMN ended INTEGER;
CREATE INDEX declarations_removed ON declarations (organisation, removed, id) WHERE removed IS NOT NULL;
CREATE INDEX declarations_content ON declarations (organisation, content);
CREATE INDEX declaration_sets_removed ON declaration_sets (organisation, removed, id) WHERE removed IS NOT NULL;
CREATE INDEX declaration_assignments_ended ON declaration_assignments (organisation, ended, id) WHERE ended IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE declarations SET
  removed = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.removed')) AS INTEGER) * 1000 END,
  content = CASE WHEN json_valid(doc) THEN json_extract(doc, '$.content') END;
UPDATE declaration_sets SET removed = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.removed')) AS INTEGER) * 1000 END;
UPDATE declaration_assignments SET ended = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.ended')) AS INTEGER) * 1000 END;
