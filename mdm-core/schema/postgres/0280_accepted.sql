-- What somebody accepted, in pieces: the what-if of a wave, or the plan of an act, as it was then.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE accepted_parts (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  wave         BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX accepted_parts_wave ON accepted_parts (organisation, wave, id);
