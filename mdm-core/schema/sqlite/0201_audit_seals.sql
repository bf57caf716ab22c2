-- The chain over the record: each seal names entries of it by their hashes and links the one before; the id is its place.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE audit_seals (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
