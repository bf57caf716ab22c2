-- Identities that are to be renewed, and those that are revoked.
-- This file has been applied somewhere: never edit it, add the next one.

-- renew_at: when its renewal is looked after next; nobody speaks with it any more when there is none.
-- revoked: when it was revoked.
ALTER TABLE certificates ADD COLUMN renew_at INTEGER;
CREATE INDEX certificates_renew ON certificates (renew_at, id) WHERE renew_at IS NOT NULL;
ALTER TABLE certificates ADD COLUMN revoked INTEGER;
CREATE INDEX certificates_revoked ON certificates (organisation, id) WHERE revoked IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE certificates SET
  revoked = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.revoked')) AS INTEGER) * 1000 END,
  renew_at = CASE WHEN json_valid(doc) THEN
    CASE WHEN json_extract(doc, '$.revoked') IS NULL
    THEN (CAST(strftime('%s', json_extract(doc, '$.not_after')) AS INTEGER) - 90 * 86400) * 1000 END END;
