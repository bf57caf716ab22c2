-- What one person has asked for and another one must confirm, and how much people did alone lately.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE approvals (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  over         INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX approvals_over ON approvals (organisation, over);

CREATE TABLE done_alone (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  name         TEXT NOT NULL,
  over         INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX done_alone_name ON done_alone (organisation, name);
CREATE INDEX done_alone_over ON done_alone (organisation, over);
