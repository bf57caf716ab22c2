-- Identities that are to be renewed, and those that are revoked.
-- This file has been applied somewhere: never edit it, add the next one.

-- renew_at: when its renewal is looked after next; nobody speaks with it any more when there is none.
-- revoked: when it was revoked.
ALTER TABLE certificates ADD COLUMN renew_at BIGINT;
CREATE INDEX certificates_renew ON certificates (renew_at, id) WHERE renew_at IS NOT NULL;
ALTER TABLE certificates ADD COLUMN revoked BIGINT;
CREATE INDEX certificates_revoked ON certificates (organisation, id) WHERE revoked IS NOT NULL;

UPDATE certificates SET
  revoked = (extract(epoch FROM (doc->>'revoked')::timestamptz) * 1000)::bigint,
  renew_at = CASE WHEN doc->>'revoked' IS NULL
    THEN ((extract(epoch FROM (doc->>'not_after')::timestamptz) - 90 * 86400) * 1000)::bigint END;
