-- What is over and may be deleted once its organisation does not want to keep it any more.
-- This file has been applied somewhere: never edit it, add the next one.

-- settled: when a command's final report came, or when it was cancelled.
-- superseded: since when a later generation is in an enrolment's place.
-- unused_until: the end of an enrolment session in which no certificate was issued.
ALTER TABLE commands ADD COLUMN settled INTEGER;
CREATE INDEX commands_settled ON commands (organisation, settled, id) WHERE settled IS NOT NULL;
ALTER TABLE enrollments ADD COLUMN superseded INTEGER;
CREATE INDEX enrollments_superseded ON enrollments (organisation, superseded, id) WHERE superseded IS NOT NULL;
ALTER TABLE sessions ADD COLUMN unused_until INTEGER;
CREATE INDEX sessions_unused_until ON sessions (organisation, unused_until, id) WHERE unused_until IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE commands SET settled = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.settled')) AS INTEGER) * 1000 END WHERE open_of IS NULL;
UPDATE enrollments SET superseded = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.ended')) AS INTEGER) * 1000 END WHERE live_key IS NULL;
UPDATE sessions SET unused_until = CASE WHEN json_valid(doc) THEN
  CASE WHEN json_extract(doc, '$.certificate') IS NULL THEN CAST(strftime('%s', json_extract(doc, '$.expires')) AS INTEGER) * 1000 END END;
