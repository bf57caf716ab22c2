-- Which versions may work on these tables beside the newest one: those that know the script of this number. A script that takes away or
-- changes the meaning of what an older version reads or writes raises it to its own number; one that only adds leaves it.
-- This file has been applied somewhere: never edit it, add the next one.

CREATE TABLE schema_floor (
  one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL
) STRICT;
INSERT INTO schema_floor (one, version) VALUES (1, 270);

-- Tables whose columns are made anew of their documents at the next start. A script that adds such a column to a table that was there
-- names it here.
CREATE TABLE schema_refill (name TEXT NOT NULL PRIMARY KEY) STRICT;
INSERT INTO schema_refill (name) VALUES ('certificates'), ('commands'), ('declaration_assignments'), ('declaration_contents'),
  ('declaration_sets'), ('declarations'), ('enrollments'), ('refusals'), ('sessions');
