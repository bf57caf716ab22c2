-- When a device spoke last, whatever it said. Beside its row and not in it: most of what devices say changes nothing else, and what
-- others decide on must not get a new version for it.
-- This file has been applied somewhere: never edit it, add the next one.

-- id: the device's. heard: the moment, which only goes forward; no index, because it is written all day: with room on its page a new
-- version of a row touches no index at all.
CREATE TABLE last_heard (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  heard        BIGINT NOT NULL,
  doc          JSON   NOT NULL,
  PRIMARY KEY (organisation, id)
) WITH (fillfactor = 50);
