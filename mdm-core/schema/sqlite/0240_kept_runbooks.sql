-- Runbooks that an organisation keeps under a name (the id comes from it), with every edit. What an edit says is a pinned runbook.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE kept_runbooks (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
