CREATE TABLE users (
  id text PRIMARY KEY,
  -- As people are found by it: trimmed and in lower case.
  email text NOT NULL UNIQUE,
  name text NOT NULL,
  -- The hash and the parameters it was made with.
  password text NOT NULL,
  preferences jsonb NOT NULL DEFAULT '{"email": true, "sms": false, "push": false}',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
