-- Apple's services: requests that change something there, budgets, locations of Apps and Books, readings of the device list.
-- This file has been applied somewhere: never edit it, add the next one.

-- open_due: when an errand wants to go on, until it has ended.
CREATE TABLE errands (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  open_due     INTEGER,
  wave         INTEGER,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX errands_open ON errands (organisation, id) WHERE open_due IS NOT NULL;
CREATE INDEX errands_wave ON errands (organisation, wave, id) WHERE wave IS NOT NULL;

CREATE TABLE budgets (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX budgets_name ON budgets (organisation, name);

CREATE TABLE locations (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;

CREATE TABLE inventories (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
