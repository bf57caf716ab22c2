-- What the original management service knew of a device, brought in by a person; the id is the device's.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE originals (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
