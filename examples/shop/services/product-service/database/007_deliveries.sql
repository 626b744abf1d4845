-- Goods that came in. The number of a delivery is given by whoever brings it, so that it is counted once however often it is told.
CREATE TABLE deliveries (
  id text PRIMARY KEY,
  product_id text NOT NULL REFERENCES products,
  quantity integer NOT NULL CHECK (quantity > 0),
  at timestamptz NOT NULL DEFAULT now()
);
