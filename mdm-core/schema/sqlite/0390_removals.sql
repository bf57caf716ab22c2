-- Organisations that were taken away: who did it, and how far their rows have gone. Rows of the installation, not of an organisation.
-- This file has been applied somewhere: never edit it, add the next one.

-- id: that of the organisation.
CREATE TABLE removals (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
