-- Lists that were assigned before are looked after, as waves are: their devices are counted where groups have limits, and they are
-- closed when all their devices have come to an end. Not all in one moment: each within the next five minutes.
-- This file has been applied somewhere: never edit it, add the next one.

-- A document with a zero character in it cannot be looked into here; a list has no words of people's in it.
INSERT INTO jobs (organisation, id, version, due, leased_until, ready_at, doc)
SELECT organisation, id, 1, at * 1000, 0, at * 1000, json_build_object(
    'organisation', CAST(organisation AS TEXT), 'id', CAST(id AS TEXT),
    'due', to_char(to_timestamp(at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'kind', json_build_object('look_after', json_build_object('wave', CAST(id AS TEXT))), 'tries', 0
  )
FROM (
  SELECT organisation, id, CAST(extract(epoch FROM now()) AS BIGINT) + id % 300 AS at,
    CASE WHEN position('\u0000' in doc::text) = 0
      THEN doc->>'ad_hoc' = 'true' AND doc->'state'->'submitted' IS NOT NULL ELSE false END AS under_way
  FROM waves
) w
WHERE w.under_way AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.organisation = w.organisation AND j.id = w.id);
