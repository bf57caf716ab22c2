-- What is over and may be deleted once its organisation does not want to keep it any more.
-- This file has been applied somewhere: never edit it, add the next one.

-- settled: when a command's final report came, or when it was cancelled.
-- superseded: since when a later generation is in an enrolment's place.
-- unused_until: the end of an enrolment session in which no certificate was issued.
ALTER TABLE commands ADD COLUMN settled BIGINT;
CREATE INDEX commands_settled ON commands (organisation, settled, id) WHERE settled IS NOT NULL;
ALTER TABLE enrollments ADD COLUMN superseded BIGINT;
CREATE INDEX enrollments_superseded ON enrollments (organisation, superseded, id) WHERE superseded IS NOT NULL;
ALTER TABLE sessions ADD COLUMN unused_until BIGINT;
CREATE INDEX sessions_unused_until ON sessions (organisation, unused_until, id) WHERE unused_until IS NOT NULL;

UPDATE commands SET settled = (extract(epoch FROM (doc->>'settled')::timestamptz) * 1000)::bigint WHERE open_of IS NULL;
UPDATE enrollments SET superseded = (extract(epoch FROM (doc->>'ended')::timestamptz) * 1000)::bigint WHERE live_key IS NULL;
UPDATE sessions SET unused_until = (extract(epoch FROM (doc->>'expires')::timestamptz) * 1000)::bigint WHERE doc->>'certificate' IS NULL;
