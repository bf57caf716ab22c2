-- Every table: (organisation, id) as the primary key, a version, the few columns that reads ask for, and the document.
-- Moments are milliseconds since 1970, UTC. Ids ascend, so rows and indexes grow at their end.
-- No foreign keys: rows are never deleted (but jobs and old refusals), and references live in the documents.
-- Documents are JSON as it was written, not JSONB: nothing here looks into them, a string may hold U+0000, and what
-- is linked by hash must come back byte for byte.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE organisations (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  code         TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX organisations_code ON organisations (code);

CREATE TABLE servers (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);

-- listed: the server entry in whose list the device stands. assign_at: from when its ADE profile may be assigned,
-- while the wanted one is not in force.
CREATE TABLE devices (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  serial       TEXT    NOT NULL,
  listed       BIGINT,
  seen         BIGINT,
  assign_at    BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX devices_serial ON devices (organisation, serial);
CREATE INDEX devices_seen ON devices (organisation, listed, seen, id) WHERE listed IS NOT NULL;
CREATE INDEX devices_assign ON devices (organisation, listed, assign_at, id) WHERE assign_at IS NOT NULL;

-- live_key: the channel id, unless a later generation took its place. device: of device channels only.
CREATE TABLE enrollments (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  live_key     TEXT,
  parent       BIGINT,
  device       BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX enrollments_key ON enrollments (organisation, live_key, id) WHERE live_key IS NOT NULL;
CREATE INDEX enrollments_parent ON enrollments (organisation, parent, id) WHERE parent IS NOT NULL;
CREATE INDEX enrollments_device ON enrollments (organisation, device, id) WHERE device IS NOT NULL;

CREATE TABLE sessions (
  organisation   BIGINT NOT NULL,
  id             BIGINT NOT NULL,
  version        BIGINT NOT NULL,
  code           TEXT    NOT NULL,
  challenge_hash TEXT    NOT NULL,
  doc            JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX sessions_code ON sessions (organisation, code);
CREATE UNIQUE INDEX sessions_challenge ON sessions (organisation, challenge_hash);

CREATE TABLE certificates (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  sha256       TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX certificates_sha256 ON certificates (organisation, sha256);

CREATE TABLE runbooks (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);

CREATE TABLE waves (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);

-- open_device: the device, until the move has ended.
CREATE TABLE moves (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  wave         BIGINT NOT NULL,
  open_device  BIGINT,
  wake_at      BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX moves_wave ON moves (organisation, wave, id);
CREATE UNIQUE INDEX moves_open ON moves (organisation, open_device) WHERE open_device IS NOT NULL;
CREATE INDEX moves_wake ON moves (wake_at, id) WHERE wake_at IS NOT NULL;

-- hold_since: while it is in a hold or being released.
CREATE TABLE set_ups (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  enrollment   BIGINT NOT NULL,
  wake_at      BIGINT,
  ceiling_at   BIGINT,
  hold_since   BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX set_ups_enrollment ON set_ups (organisation, enrollment);
CREATE INDEX set_ups_wake ON set_ups (wake_at, id) WHERE wake_at IS NOT NULL;
CREATE INDEX set_ups_ceiling ON set_ups (ceiling_at, id) WHERE ceiling_at IS NOT NULL;
CREATE INDEX set_ups_hold ON set_ups (organisation, hold_since, id) WHERE hold_since IS NOT NULL;

-- open_of: the enrolment, until the final report.
CREATE TABLE commands (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  enrollment   BIGINT NOT NULL,
  uuid         TEXT    NOT NULL,
  open_of      BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX commands_uuid ON commands (organisation, enrollment, uuid);
CREATE INDEX commands_enrollment ON commands (organisation, enrollment, id);
CREATE INDEX commands_open ON commands (organisation, open_of, id) WHERE open_of IS NOT NULL;

CREATE TABLE secrets (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  device       BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX secrets_device ON secrets (organisation, device, id) WHERE device IS NOT NULL;

CREATE TABLE tokens (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  hash         TEXT    NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);

-- leased_until: the end of the lease, 0 without one. ready_at: the later of due and leased_until.
CREATE TABLE jobs (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  due          BIGINT NOT NULL,
  leased_until BIGINT NOT NULL,
  ready_at     BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX jobs_ready ON jobs (ready_at);
CREATE INDEX jobs_due ON jobs (organisation, due, id);

CREATE TABLE audit (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  device       BIGINT,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE INDEX audit_device ON audit (organisation, device, id) WHERE device IS NOT NULL;

CREATE TABLE refusals (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  doc          JSON    NOT NULL,
  PRIMARY KEY (organisation, id)
);
