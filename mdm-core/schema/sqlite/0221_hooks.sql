-- Receivers of webhooks, and messages to them; a message is open for its device until it is over.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE hooks (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  name         TEXT,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE UNIQUE INDEX hooks_name ON hooks (organisation, name) WHERE name IS NOT NULL;

CREATE TABLE hook_messages (
  organisation INTEGER NOT NULL,
  id           INTEGER NOT NULL,
  version      INTEGER NOT NULL,
  open_device  INTEGER,
  hook         INTEGER NOT NULL,
  over         INTEGER,
  doc          TEXT NOT NULL,
  PRIMARY KEY (organisation, id)
) STRICT;
CREATE INDEX hook_messages_open ON hook_messages (organisation, open_device, id) WHERE open_device IS NOT NULL;
CREATE INDEX hook_messages_hook ON hook_messages (organisation, hook, id);
CREATE INDEX hook_messages_over ON hook_messages (organisation, over) WHERE over IS NOT NULL;
