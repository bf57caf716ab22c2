-- Templates of the installation (organisation 0; the id comes from the name), with every edit.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE templates (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
