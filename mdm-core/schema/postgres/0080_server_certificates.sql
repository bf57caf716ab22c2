-- The certificate of the listeners, where an authority issues it by ACME: of the installation, not of an organisation.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE server_certificates (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX server_certificates_name ON server_certificates (organisation, name);
