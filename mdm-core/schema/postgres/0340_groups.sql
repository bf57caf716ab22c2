-- Devices have the groups of their owners beside their tags, so that declarations and the library go by them: those that were
-- imported before. An older version would write devices without them, and reads no declarations that are for a group.
-- This file has been applied somewhere: never edit it, add the next one.

-- A document with a zero character in it cannot be looked into here; its groups come with the next import.
UPDATE devices d SET version = d.version + 1,
  doc = ('{"groups":' || o.groups || ',' || substr(d.doc::text, 2))::json
FROM (
  SELECT organisation, id,
    CASE WHEN position('\u0000' in doc::text) = 0 THEN doc #> '{owner,value,groups}' END::text AS groups
  FROM originals
) o
WHERE o.organisation = d.organisation AND o.id = d.id AND o.groups IS NOT NULL AND o.groups NOT IN ('null', '[]');

UPDATE schema_floor SET version = 340;
