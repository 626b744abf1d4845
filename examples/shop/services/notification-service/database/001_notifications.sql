CREATE TABLE notifications (
  -- The event that it tells of. One notification per event, however often the broker brings it.
  id text PRIMARY KEY,
  user_id text NOT NULL,
  order_id text NOT NULL,
  type text NOT NULL,
  channel text NOT NULL CHECK (channel IN ('email', 'sms', 'push')),
  subject text NOT NULL,
  text text NOT NULL,
  -- When it happened, as the event says.
  at timestamptz NOT NULL
);

CREATE INDEX notifications_of_user ON notifications (user_id, at DESC);
