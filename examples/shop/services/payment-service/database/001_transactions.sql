-- Amounts are minor units. An order has one transaction, so every command can be repeated by naming the order.
CREATE TABLE transactions (
  order_id text PRIMARY KEY,
  id uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  status text NOT NULL CHECK (status IN ('AUTHORISED', 'DECLINED', 'CAPTURED', 'VOIDED')),
  user_id text,
  amount bigint CHECK (amount > 0),
  currency text,
  payment_method text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),

  -- Only the tombstone of an order that was voided before its authorisation arrived knows nothing of the money.
  CHECK (
    num_nulls(user_id, amount, currency, payment_method) = 0
    OR (status = 'VOIDED' AND num_nonnulls(user_id, amount, currency, payment_method) = 0)
  )
);

-- Every movement of money, written with the change of status that it belongs to and never changed afterwards.
CREATE TABLE payment_ledger (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_id text NOT NULL REFERENCES transactions (order_id),
  entry text NOT NULL CHECK (entry IN ('authorise', 'capture', 'void')),
  amount bigint NOT NULL CHECK (amount > 0),
  currency text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),

  -- Whatever a caller repeats, money moves once in each way.
  UNIQUE (order_id, entry)
);
