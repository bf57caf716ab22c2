-- Identities that are over and may be deleted once their organisation does not want to keep them any more.
-- This file has been applied somewhere: never edit it, add the next one.

-- over: when an identity that nobody speaks with any more has left the last revocation list.
ALTER TABLE certificates ADD COLUMN over BIGINT;
CREATE INDEX certificates_over ON certificates (organisation, over, id) WHERE over IS NOT NULL;

UPDATE certificates SET over = CASE
  WHEN (doc->>'revoked' IS NOT NULL AND doc->>'authority' IS NOT NULL)
    OR (doc->>'revoked' IS NULL AND (doc->>'replaced' IS NOT NULL OR doc->>'renew_at' IS NULL))
  THEN ((extract(epoch FROM (doc->>'not_after')::timestamptz) + 7 * 86400) * 1000)::bigint END;
