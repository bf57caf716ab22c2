-- What somebody accepted, in pieces: the what-if of a wave, or the plan of an act, as it was then.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE accepted_parts (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  wave         INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX accepted_parts_wave ON accepted_parts (organisation, wave, id);
