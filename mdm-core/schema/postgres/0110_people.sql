-- Sign-ins under way and sessions of people. What somebody must show is there as a hash only.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE sign_ins (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  state        TEXT NOT NULL,
  code         TEXT,
  over         BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX sign_in_state ON sign_ins (state);
CREATE UNIQUE INDEX sign_in_code ON sign_ins (code) WHERE code IS NOT NULL;
CREATE INDEX sign_in_over ON sign_ins (organisation, over);

CREATE TABLE person_sessions (
  organisation BIGINT NOT NULL,
  id           BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  token        TEXT NOT NULL,
  over         BIGINT NOT NULL,
  doc          JSON NOT NULL,
  PRIMARY KEY (organisation, id)
);
CREATE UNIQUE INDEX person_session_token ON person_sessions (token);
CREATE INDEX person_session_over ON person_sessions (organisation, over);
