-- What our ACME server keeps of devices: accounts, orders, used nonces.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE acme_accounts (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  thumbprint   TEXT NOT NULL,
  expires      INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX acme_accounts_over ON acme_accounts (organisation, expires, id);
CREATE UNIQUE INDEX acme_accounts_key ON acme_accounts (organisation, thumbprint);

CREATE TABLE acme_orders (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  certified    TEXT,
  expires      INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX acme_orders_over ON acme_orders (organisation, expires, id);
CREATE UNIQUE INDEX acme_orders_certified ON acme_orders (organisation, certified) WHERE certified IS NOT NULL;

CREATE TABLE acme_nonces (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  expires      INTEGER NOT NULL,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX acme_nonces_over ON acme_nonces (organisation, expires, id);
