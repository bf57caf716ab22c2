-- Which history of the database this is, as a server that worked on it has noted: the cluster, and its timeline.
-- This file has been applied somewhere: never edit it, add the next one.

ALTER TABLE schema_floor ADD COLUMN history TEXT;
