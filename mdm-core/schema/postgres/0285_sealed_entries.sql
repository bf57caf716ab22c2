-- An entry of the record that a seal names has version 2; what no seal names is found by itself, whenever it was committed.
-- This file has been applied somewhere: never edit it, add the next one.

UPDATE audit SET version = 2 WHERE (organisation, id) IN
  (SELECT s.organisation, (e ->> 0)::bigint FROM audit_seals AS s, json_array_elements(s.doc -> 'entries') AS e);

CREATE INDEX audit_unsealed ON audit (organisation, id) WHERE version = 1;
