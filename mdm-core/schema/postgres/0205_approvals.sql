-- What one person has asked for and another one must confirm, and how much people did alone lately.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE approvals (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  over         BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX approvals_over ON approvals (organisation, over);

CREATE TABLE done_alone (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT NOT NULL,
  over         BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX done_alone_name ON done_alone (organisation, name);
CREATE INDEX done_alone_over ON done_alone (organisation, over);
