-- Which history of the database this is. Noted on PostgreSQL only: no replica takes over from a file.
-- This file has been applied somewhere: never edit it, add the next one.

ALTER TABLE schema_floor ADD COLUMN history TEXT;
