-- Declarations, sets and assignments that are out of use may be deleted once their organisation does not want to keep them
-- any more, and contents that no declaration has and no list names.
-- This file has been applied somewhere: never edit it, add the next one.

-- removed, ended: since when it is out of use. content: the present content of a declaration.
ALTER TABLE declarations ADD COLUMN removed BIGINT;
ALTER TABLE declarations ADD COLUMN content BIGINT;
ALTER TABLE declaration_sets ADD COLUMN removed BIGINT;
ALTER TABLE declaration_assignments ADD COLUMN ended BIGINT;
CREATE INDEX declarations_removed ON declarations (organisation, removed, id) WHERE removed IS NOT NULL;
CREATE INDEX declarations_content ON declarations (organisation, content);
CREATE INDEX declaration_sets_removed ON declaration_sets (organisation, removed, id) WHERE removed IS NOT NULL;
CREATE INDEX declaration_assignments_ended ON declaration_assignments (organisation, ended, id) WHERE ended IS NOT NULL;

UPDATE declarations SET
  removed = (extract(epoch FROM (doc->>'removed')::timestamptz) * 1000)::bigint,
  content = (doc->>'content')::bigint;
UPDATE declaration_sets SET removed = (extract(epoch FROM (doc->>'removed')::timestamptz) * 1000)::bigint;
UPDATE declaration_assignments SET ended = (extract(epoch FROM (doc->>'ended')::timestamptz) * 1000)::bigint;
