-- The certificate of the listeners, where an authority issues it by ACME: of the installation, not of an organisation.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE server_certificates (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  doc          TEXT    NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX server_certificates_name ON server_certificates (organisation, name);
