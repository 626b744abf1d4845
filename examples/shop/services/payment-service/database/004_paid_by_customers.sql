-- What is captured can be given back.
ALTER TABLE transactions DROP CONSTRAINT transactions_status_check;
ALTER TABLE transactions ADD CONSTRAINT transactions_status_check
  CHECK (status IN ('AUTHORISED', 'DECLINED', 'CAPTURED', 'VOIDED', 'REFUNDED'));
ALTER TABLE payment_ledger DROP CONSTRAINT payment_ledger_entry_check;
ALTER TABLE payment_ledger ADD CONSTRAINT payment_ledger_entry_check
  CHECK (entry IN ('authorise', 'capture', 'void', 'refund'));

-- Whether an order may still be paid. One that is heard of by its end first has no total yet.
ALTER TABLE known_orders ADD COLUMN status text NOT NULL DEFAULT 'PENDING'
  CHECK (status IN ('PENDING', 'CONFIRMED', 'CANCELLED'));
ALTER TABLE known_orders ALTER COLUMN total DROP NOT NULL;
ALTER TABLE known_orders ALTER COLUMN currency DROP NOT NULL;

-- The card that a customer has on file; who has none pays with the shop's usual one.
CREATE TABLE payment_methods (
  user_id text PRIMARY KEY,
  payment_method text NOT NULL
);
