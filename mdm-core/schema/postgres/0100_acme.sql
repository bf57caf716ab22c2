-- What our ACME server keeps of devices: accounts, orders, used nonces.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE acme_accounts (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  thumbprint   TEXT NOT NULL,
  expires      BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX acme_accounts_over ON acme_accounts (organisation, expires, id);
CREATE UNIQUE INDEX acme_accounts_key ON acme_accounts (organisation, thumbprint);

CREATE TABLE acme_orders (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  certified    TEXT,
  expires      BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX acme_orders_over ON acme_orders (organisation, expires, id);
CREATE UNIQUE INDEX acme_orders_certified ON acme_orders (organisation, certified) WHERE certified IS NOT NULL;

CREATE TABLE acme_nonces (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  expires      BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX acme_nonces_over ON acme_nonces (organisation, expires, id);
