-- When identities end with which somebody speaks.
-- This file has been applied somewhere: never edit it, add the next one.

ALTER TABLE certificates ADD COLUMN ends BIGINT;
CREATE INDEX certificates_ends ON certificates (ends) WHERE ends IS NOT NULL;

UPDATE certificates SET ends = (extract(epoch FROM (doc->>'not_after')::timestamptz) * 1000)::bigint
WHERE renew_at IS NOT NULL;
