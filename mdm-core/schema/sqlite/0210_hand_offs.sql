-- Jobs for sealed hand-offs, and what became of the devices of their bundles.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE hand_offs (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;

CREATE TABLE hand_off_parts (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  job          INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX hand_off_parts_job ON hand_off_parts (organisation, job, id);
