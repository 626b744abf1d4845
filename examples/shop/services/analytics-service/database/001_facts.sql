-- Everything that was ever told, as it was told. The aggregates can be made again from it.
CREATE TABLE facts (
  event_id text PRIMARY KEY,
  type text NOT NULL,
  source text NOT NULL,
  at timestamptz NOT NULL,
  data jsonb NOT NULL
);
