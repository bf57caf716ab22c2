-- Templates of the installation (organisation 0; the id comes from the name), with every edit.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE templates (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
