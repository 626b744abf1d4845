-- How much of each product was ever asked for, as order.created tells it.
CREATE TABLE demand (
  product_id text PRIMARY KEY,
  units bigint NOT NULL,
  orders bigint NOT NULL
);

-- The events that are in `demand` already; the broker may bring one twice.
CREATE TABLE handled_events (
  event_id text PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now()
);
