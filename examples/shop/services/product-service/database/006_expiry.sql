-- Until when the goods are kept for an order that says no more. Null once it is being paid: then only its checkout decides.
ALTER TABLE reservations ADD COLUMN expires_at timestamptz;

CREATE INDEX reservations_that_expire ON reservations (expires_at) WHERE status = 'reserved';
