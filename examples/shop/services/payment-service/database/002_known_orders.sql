-- The orders this service has heard of through order.created.
CREATE TABLE known_orders (
  order_id text PRIMARY KEY,
  user_id text NOT NULL,
  total bigint NOT NULL CHECK (total >= 0),
  currency text NOT NULL,
  created_at timestamptz NOT NULL
);

-- Events that have been worked in; a second delivery finds its id here.
CREATE TABLE handled_events (
  event_id text PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now()
);
