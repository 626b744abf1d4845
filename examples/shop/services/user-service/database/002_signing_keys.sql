CREATE TABLE signing_keys (
  kid text PRIMARY KEY,
  public_jwk jsonb NOT NULL,
  private_jwk jsonb NOT NULL,
  active boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- A key that signs no more stays published until its last token has expired.
  published_until timestamptz,
  CHECK (active = (published_until IS NULL))
);

-- At most one key signs, also when two instances make the first one at the same moment.
CREATE UNIQUE INDEX one_active_key ON signing_keys (active) WHERE active;
