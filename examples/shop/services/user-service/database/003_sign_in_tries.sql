-- How many wrong passwords an address was sent lately, whether it belongs to an account or not: as the time at which all
-- of them are forgotten. The address is hashed: anything may be sent as one, and nobody needs to know who was looked for.
CREATE TABLE sign_in_tries (
  address text PRIMARY KEY,
  forgotten_at timestamptz NOT NULL
);
CREATE INDEX sign_in_tries_forgotten_at ON sign_in_tries (forgotten_at);
