-- One event may go out by several channels.
ALTER TABLE notifications DROP CONSTRAINT notifications_pkey, ADD PRIMARY KEY (id, channel);

-- How somebody wants to hear from the shop, as user.registered and user.updated tell it.
CREATE TABLE recipients (
  user_id text PRIMARY KEY,
  email boolean NOT NULL,
  sms boolean NOT NULL,
  push boolean NOT NULL,
  -- Of the event; an older one that comes later changes nothing.
  told_at timestamptz NOT NULL
);
