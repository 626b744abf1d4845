-- Whose account was deleted, for as long as a token of theirs may still be good.
CREATE TABLE departed_users (
  user_id text PRIMARY KEY,
  tokens_expire timestamptz NOT NULL
);
