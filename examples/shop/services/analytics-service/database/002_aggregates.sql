CREATE TABLE event_counts (
  type text PRIMARY KEY,
  events bigint NOT NULL
);

-- What confirmed orders brought in, in minor units.
CREATE TABLE revenue (
  currency text PRIMARY KEY,
  amount bigint NOT NULL
);
