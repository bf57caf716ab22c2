-- A file of declarations goes with the last content that has it, and is found by whichever has it.
-- This file has been applied somewhere: never edit it, add the next one.

-- file: the sealed bytes, in secrets. file_name: its name in its address.
ALTER TABLE declaration_contents ADD COLUMN file INTEGER;
ALTER TABLE declaration_contents ADD COLUMN file_name TEXT;
CREATE INDEX declaration_contents_file ON declaration_contents (organisation, file) WHERE file IS NOT NULL;
CREATE INDEX declaration_contents_file_name ON declaration_contents (organisation, file_name, id) WHERE file_name IS NOT NULL;

-- A document that cannot be read is left alone.
UPDATE declaration_contents SET
  file = CASE WHEN json_valid(doc) THEN json_extract(doc, '$.file.secret') END,
  file_name = CASE WHEN json_valid(doc) THEN json_extract(doc, '$.file.name') END;
