-- Jobs for sealed hand-offs, and what became of the devices of their bundles.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE hand_offs (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);

CREATE TABLE hand_off_parts (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  job          BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX hand_off_parts_job ON hand_off_parts (organisation, job, id);
