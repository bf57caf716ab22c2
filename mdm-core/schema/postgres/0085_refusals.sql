-- Who was refused, so that nobody's refusals push those of others out of the record.
-- This file has been applied somewhere: never edit it, add the next one.

-- sender: the device that was proved, else the network address; none for what was recorded before.
ALTER TABLE refusals ADD COLUMN sender TEXT;
CREATE INDEX refusals_sender ON refusals (organisation, sender, id) WHERE sender IS NOT NULL;
