-- Organisations that were taken away: who did it, and how far their rows have gone. Rows of the installation, not of an organisation.
-- This file has been applied somewhere: never edit it, add the next one.

-- id: that of the organisation.
CREATE TABLE removals (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON   NOT NULL,
  PRIMARY KEY (organisation, id)
);
