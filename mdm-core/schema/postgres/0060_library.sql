-- Configuration profiles and packages that an organisation keeps for its devices.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE library (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX library_name ON library (organisation, name);
