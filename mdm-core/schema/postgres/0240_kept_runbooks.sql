-- Runbooks that an organisation keeps under a name (the id comes from it), with every edit. What an edit says is a pinned runbook.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE kept_runbooks (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
