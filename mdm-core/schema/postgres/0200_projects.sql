-- Whole moves, and the last what-if that somebody had run for a wave (the id is the wave's).
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE projects (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX projects_name ON projects (organisation, name);

CREATE TABLE what_if_runs (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
