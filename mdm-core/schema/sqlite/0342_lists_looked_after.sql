-- Lists that were assigned before are looked after, as waves are: their devices are counted where groups have limits, and they are
-- closed when all their devices have come to an end. Not all in one moment: each within the next five minutes.
-- This file has been applied somewhere: never edit it, add the next one.

INSERT INTO jobs (organisation, id, version, due, leased_until, ready_at, doc)
SELECT organisation, id, 1, at * 1000, 0, at * 1000, json_object(
    'organisation', CAST(organisation AS TEXT), 'id', CAST(id AS TEXT), 'due', strftime('%Y-%m-%dT%H:%M:%SZ', at, 'unixepoch'),
    'kind', json_object('look_after', json_object('wave', CAST(id AS TEXT))), 'tries', 0
  )
FROM (
  SELECT organisation, id, doc, CAST(strftime('%s', 'now') AS INTEGER) + id % 300 AS at FROM waves
) w
WHERE json_extract(w.doc, '$.ad_hoc') AND json_type(w.doc, '$.state.submitted') = 'object'
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.organisation = w.organisation AND j.id = w.id);
