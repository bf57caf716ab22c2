-- Limits on how many devices of a group are in the gap at once hold for the organisation: every place counts, whatever wave it is of.
-- This file has been applied somewhere: never edit it, add the next one.

-- gap: not null as long as it is in the gap.
DROP INDEX moves_gap;
CREATE INDEX moves_gap ON moves (organisation, id) WHERE gap IS NOT NULL;

-- An older version cannot read a place that names no project.
UPDATE schema_floor SET version = 341;
