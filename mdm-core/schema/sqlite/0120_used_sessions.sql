-- Enrolment sessions in which an identity was issued may be deleted once no identity of theirs is kept any more.
-- This file has been applied somewhere: never edit it, add the next one.

-- used_until: when a session ended in which an identity was issued.
-- session: the session in which an identity was issued.
ALTER TABLE sessions ADD COLUMN used_until INTEGER;
CREATE INDEX sessions_used_until ON sessions (organisation, used_until, id) WHERE used_until IS NOT NULL;
ALTER TABLE certificates ADD COLUMN session INTEGER;
CREATE INDEX certificates_session ON certificates (organisation, session) WHERE session IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE sessions SET used_until = CASE WHEN json_valid(doc) THEN
  CASE WHEN json_extract(doc, '$.certificate') IS NOT NULL THEN CAST(strftime('%s', json_extract(doc, '$.expires')) AS INTEGER) * 1000 END END;
UPDATE certificates SET session = CASE WHEN json_valid(doc) THEN json_extract(doc, '$.session') END;
