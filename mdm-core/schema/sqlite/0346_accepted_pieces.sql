-- Of what was accepted of a wave the first piece of each acceptance is found without the members that follow it.
-- This file has been applied somewhere: never edit it, add the next one.

-- part: counts the pieces of one acceptance, from 0; not known of what was accepted before.
ALTER TABLE accepted_parts ADD COLUMN part INTEGER;
CREATE INDEX accepted_first ON accepted_parts (organisation, wave, id) WHERE part IS NULL OR part = 0;
