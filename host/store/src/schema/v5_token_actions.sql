-- The actions that a submitter's token may propose: `*`, action types and `family:NAME`, with a space between them. Tokens of before keep what
-- they could do.
ALTER TABLE tokens ADD COLUMN actions TEXT NOT NULL DEFAULT '';
UPDATE tokens SET actions = '*' WHERE role = 'submitter';
