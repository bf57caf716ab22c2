-- Every identity of a device, and the sessions in which it may still get one.
-- This file has been applied somewhere: never edit it, add the next one.

-- device: the device that the session of this identity was given to.
-- open_of: the device, while no identity was issued in the session.
ALTER TABLE certificates ADD COLUMN device BIGINT;
CREATE INDEX certificates_device ON certificates (organisation, device, id) WHERE device IS NOT NULL;
ALTER TABLE sessions ADD COLUMN open_of BIGINT;
CREATE INDEX sessions_open ON sessions (organisation, open_of, id) WHERE open_of IS NOT NULL;

UPDATE sessions SET open_of = (doc->>'device')::bigint
  WHERE doc->>'certificate' IS NULL AND doc->>'used_by' IS NULL;
UPDATE certificates SET device = (sessions.doc->>'device')::bigint, doc = jsonb_set(certificates.doc::jsonb, '{device}', to_jsonb((sessions.doc->>'device')::bigint))::json
  FROM sessions
  WHERE sessions.organisation = certificates.organisation AND sessions.id = (certificates.doc->>'session')::bigint
    AND sessions.doc->>'device' IS NOT NULL;
