-- Places in the gap between two services that members of a project have taken.
-- This file has been applied somewhere: never edit it, add the next one.

-- gap: the project whose limits count it, as long as it is in the gap.
ALTER TABLE moves ADD COLUMN gap INTEGER;
CREATE INDEX moves_gap ON moves (organisation, gap, id) WHERE gap IS NOT NULL;
