-- Requests of programs that may come twice, by the hash of their key.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE repeats (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  key          TEXT NOT NULL,
  over         INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX repeats_key ON repeats (organisation, key);
CREATE INDEX repeats_over ON repeats (organisation, over);
