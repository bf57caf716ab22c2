-- Enrolment sessions in which an identity was issued may be deleted once no identity of theirs is kept any more.
-- This file has been applied somewhere: never edit it, add the next one.

-- used_until: when a session ended in which an identity was issued.
-- session: the session in which an identity was issued.
ALTER TABLE sessions ADD COLUMN used_until BIGINT;
CREATE INDEX sessions_used_until ON sessions (organisation, used_until, id) WHERE used_until IS NOT NULL;
ALTER TABLE certificates ADD COLUMN session BIGINT;
CREATE INDEX certificates_session ON certificates (organisation, session) WHERE session IS NOT NULL;

UPDATE sessions SET used_until = (extract(epoch FROM (doc->>'expires')::timestamptz) * 1000)::bigint
  WHERE doc->>'certificate' IS NOT NULL;
UPDATE certificates SET session = (doc->>'session')::bigint;
