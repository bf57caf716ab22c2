-- From here on documents hold ids as strings, which a version that knows only numbers cannot read. Numbers are still read.
-- This file has been applied somewhere: never edit it, add the next one.

UPDATE schema_floor SET version = 320;
