-- Jobs for hand-offs that are over may be deleted once their organisation does not want to keep them any more, and what became of the
-- devices of their bundles with them.
-- This file has been applied somewhere: never edit it, add the next one.

-- over: from when on nothing rests on the job any more.
ALTER TABLE hand_offs ADD COLUMN over INTEGER;
CREATE INDEX hand_offs_over ON hand_offs (organisation, over, id) WHERE over IS NOT NULL;
INSERT INTO schema_refill (name) VALUES ('hand_offs') ON CONFLICT DO NOTHING;
