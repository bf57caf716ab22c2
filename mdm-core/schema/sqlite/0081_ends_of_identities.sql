-- When identities end with which somebody speaks.
-- This file has been applied somewhere: never edit it, add the next one.

ALTER TABLE certificates ADD COLUMN ends INTEGER;
CREATE INDEX certificates_ends ON certificates (ends) WHERE ends IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE certificates SET
  ends = CASE WHEN json_valid(doc) THEN CAST(strftime('%s', json_extract(doc, '$.not_after')) AS INTEGER) * 1000 END
WHERE renew_at IS NOT NULL;
