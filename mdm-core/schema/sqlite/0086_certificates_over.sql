-- Identities that are over and may be deleted once their organisation does not want to keep them any more.
-- This file has been applied somewhere: never edit it, add the next one.

-- over: when an identity that nobody speaks with any more has left the last revocation list.
ALTER TABLE certificates ADD COLUMN over INTEGER;
CREATE INDEX certificates_over ON certificates (organisation, over, id) WHERE over IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE certificates SET over = CASE WHEN json_valid(doc) THEN
  CASE WHEN (json_extract(doc, '$.revoked') IS NOT NULL AND json_extract(doc, '$.authority') IS NOT NULL)
    OR (json_extract(doc, '$.revoked') IS NULL AND (json_extract(doc, '$.replaced') IS NOT NULL OR json_extract(doc, '$.renew_at') IS NULL))
  THEN (CAST(strftime('%s', json_extract(doc, '$.not_after')) AS INTEGER) + 7 * 86400) * 1000 END END;
