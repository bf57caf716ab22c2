-- Devices have the groups of their owners beside their tags, so that declarations and the library go by them: those that were
-- imported before. An older version would write devices without them, and reads no declarations that are for a group.
-- This file has been applied somewhere: never edit it, add the next one.

UPDATE devices SET version = version + 1, doc = '{"groups":' || (
    SELECT json_extract(o.doc, '$.owner.value.groups') FROM originals o
    WHERE o.organisation = devices.organisation AND o.id = devices.id
  ) || ',' || substr(doc, 2)
WHERE EXISTS (
  SELECT 1 FROM originals o WHERE o.organisation = devices.organisation AND o.id = devices.id
    AND json_array_length(o.doc, '$.owner.value.groups') > 0
);

UPDATE schema_floor SET version = 340;
