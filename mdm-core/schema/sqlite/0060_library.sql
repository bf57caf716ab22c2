-- Configuration profiles and packages that an organisation keeps for its devices.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE library (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX library_name ON library (organisation, name);
