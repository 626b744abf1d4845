-- Amounts are minor units of `currency`.
CREATE TABLE orders (
  id text PRIMARY KEY,
  saga_id text NOT NULL UNIQUE,
  user_id text NOT NULL,
  status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'CONFIRMED', 'CANCELLED')),
  payment_method text NOT NULL,
  total bigint NOT NULL CHECK (total > 0),
  currency text NOT NULL,
  -- Why it was cancelled, in words for the customer.
  reason text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),

  CHECK ((status = 'CANCELLED') = (reason IS NOT NULL))
);

-- What was ordered, with the name and the price of that moment.
CREATE TABLE order_items (
  order_id text NOT NULL REFERENCES orders (id),
  position integer NOT NULL,
  product_id text NOT NULL,
  name text NOT NULL,
  price bigint NOT NULL CHECK (price >= 0),
  quantity integer NOT NULL CHECK (quantity > 0),

  PRIMARY KEY (order_id, position),
  UNIQUE (order_id, product_id)
);

-- Which order a customer's Idempotency-Key stands for, and what was asked for with it.
CREATE TABLE order_requests (
  user_id text NOT NULL,
  key text NOT NULL,
  body_hash text NOT NULL,
  order_id text NOT NULL UNIQUE REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED,
  created_at timestamptz NOT NULL DEFAULT now(),

  PRIMARY KEY (user_id, key)
);

CREATE TABLE shipments (
  order_id text PRIMARY KEY REFERENCES orders (id),
  id uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  created_at timestamptz NOT NULL DEFAULT now()
);
