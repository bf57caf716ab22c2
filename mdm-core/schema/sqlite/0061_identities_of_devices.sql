-- Every identity of a device, and the sessions in which it may still get one.
-- This file has been applied somewhere: never edit it, add the next one.

-- device: the device that the session of this identity was given to.
-- open_of: the device, while no identity was issued in the session.
ALTER TABLE certificates ADD COLUMN device INTEGER;
CREATE INDEX certificates_device ON certificates (organisation, device, id) WHERE device IS NOT NULL;
ALTER TABLE sessions ADD COLUMN open_of INTEGER;
CREATE INDEX sessions_open ON sessions (organisation, open_of, id) WHERE open_of IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE sessions SET open_of = CASE WHEN json_valid(doc) THEN
  CASE WHEN json_extract(doc, '$.certificate') IS NULL AND json_extract(doc, '$.used_by') IS NULL THEN json_extract(doc, '$.device') END END;
UPDATE certificates SET device = (
  SELECT CASE WHEN json_valid(sessions.doc) THEN json_extract(sessions.doc, '$.device') END FROM sessions
  WHERE sessions.organisation = certificates.organisation AND sessions.id = json_extract(certificates.doc, '$.session')
) WHERE json_valid(doc);
UPDATE certificates SET doc = json_set(doc, '$.device', device) WHERE device IS NOT NULL;
