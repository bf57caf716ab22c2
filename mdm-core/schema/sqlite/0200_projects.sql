-- Whole moves, and the last what-if that somebody had run for a wave (the id is the wave's).
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE projects (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX projects_name ON projects (organisation, name);

CREATE TABLE what_if_runs (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
