-- Receivers of webhooks, and messages to them; a message is open for its device until it is over.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE hooks (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX hooks_name ON hooks (organisation, name) WHERE name IS NOT NULL;

CREATE TABLE hook_messages (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  open_device  BIGINT,
  hook         BIGINT NOT NULL,
  over         BIGINT,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX hook_messages_open ON hook_messages (organisation, open_device, id) WHERE open_device IS NOT NULL;
CREATE INDEX hook_messages_hook ON hook_messages (organisation, hook, id);
CREATE INDEX hook_messages_over ON hook_messages (organisation, over) WHERE over IS NOT NULL;
