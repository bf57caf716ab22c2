-- The order of a queue in its index, so that its head is read and not its oldest part.
-- This file has been applied somewhere: never edit it, add the next one.

-- turn: of an open command its place: its priority below zero, and far behind once the device has refused it. Then id.
ALTER TABLE commands ADD COLUMN turn INTEGER;
-- A document that cannot be read is left alone.
UPDATE commands SET turn = CASE WHEN json_valid(doc) THEN
  CASE json_extract(doc, '$.state') WHEN 'not_now' THEN 1099511627776 ELSE 0 END - json_extract(doc, '$.priority') ELSE 0 END
  WHERE open_of IS NOT NULL;
DROP INDEX commands_open;
CREATE INDEX commands_open ON commands (organisation, open_of, turn, id) WHERE open_of IS NOT NULL;
