-- Requests of programs that may come twice, by the hash of their key.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE repeats (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  key          TEXT NOT NULL,
  over         BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX repeats_key ON repeats (organisation, key);
CREATE INDEX repeats_over ON repeats (organisation, over);
