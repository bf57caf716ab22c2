-- When a device spoke last, whatever it said. Beside its row and not in it: most of what devices say changes nothing else, and what
-- others decide on must not get a new version for it.
-- This file has been applied somewhere: never edit it, add the next one.

-- id: the device's. heard: the moment, which only goes forward; no index, because it is written all day.
CREATE TABLE last_heard (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  heard        INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
