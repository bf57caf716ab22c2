-- What the original management service knew of a device, brought in by a person; the id is the device's.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE originals (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON   NOT NULL,
  PRIMARY KEY (organisation, id)
);
