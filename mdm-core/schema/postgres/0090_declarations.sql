-- Declarations, the sets in which they are assigned, and what channels were told of them and report.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE declarations (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  identifier   TEXT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX declarations_identifier ON declarations (organisation, identifier);

-- Written once: a list that a channel was told stays what it was.
CREATE TABLE declaration_contents (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  token        TEXT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX declaration_contents_token ON declaration_contents (organisation, token);

CREATE TABLE declaration_sets (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  name         TEXT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX declaration_sets_name ON declaration_sets (organisation, name);

-- scope: the word under which channels look for it, until it ends.
CREATE TABLE declaration_assignments (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  scope        TEXT,
  set_id       BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX declaration_assignments_scope ON declaration_assignments (organisation, scope, set_id) WHERE scope IS NOT NULL;
CREATE INDEX declaration_assignments_set ON declaration_assignments (organisation, set_id, id);

-- Shared by all channels that should have the same.
CREATE TABLE declaration_manifests (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  token        TEXT NOT NULL,
  created      BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX declaration_manifests_token ON declaration_manifests (organisation, token);
CREATE INDEX declaration_manifests_created ON declaration_manifests (organisation, created, id);

-- The id is that of the enrolment. manifest, earlier: the lists that it was told.
CREATE TABLE declared_channels (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  manifest     BIGINT,
  earlier      BIGINT,
  ended        BIGINT,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX declared_channels_manifest ON declared_channels (organisation, manifest, id) WHERE manifest IS NOT NULL;
CREATE INDEX declared_channels_earlier ON declared_channels (organisation, earlier, id) WHERE earlier IS NOT NULL;
CREATE INDEX declared_channels_ended ON declared_channels (organisation, ended, id) WHERE ended IS NOT NULL;

-- The id is that of the enrolment.
CREATE TABLE channel_statuses (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  ended        BIGINT,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX channel_statuses_ended ON channel_statuses (organisation, ended, id) WHERE ended IS NOT NULL;
