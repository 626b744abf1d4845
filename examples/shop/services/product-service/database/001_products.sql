CREATE TABLE categories (
  id text PRIMARY KEY,
  name text NOT NULL
);

CREATE TABLE products (
  id text PRIMARY KEY,
  name text NOT NULL,
  category text NOT NULL REFERENCES categories,
  -- In minor units of the currency.
  price integer NOT NULL CHECK (price >= 0),
  currency text NOT NULL DEFAULT 'EUR',
  -- What lies in the warehouse, and how much of it is promised to orders.
  on_hand integer NOT NULL CHECK (on_hand >= 0),
  reserved integer NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  CONSTRAINT never_promise_more_than_there_is CHECK (reserved <= on_hand)
);
