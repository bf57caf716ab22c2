-- Apple's services: requests that change something there, budgets, locations of Apps and Books, readings of the device list.
-- This file has been applied somewhere: never edit it, add the next one.

-- open_due: when an errand wants to go on, until it has ended.
CREATE TABLE errands (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  open_due     BIGINT,
  wave         BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX errands_open ON errands (organisation, id) WHERE open_due IS NOT NULL;
CREATE INDEX errands_wave ON errands (organisation, wave, id) WHERE wave IS NOT NULL;

CREATE TABLE budgets (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX budgets_name ON budgets (organisation, name);

CREATE TABLE locations (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);

CREATE TABLE inventories (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
