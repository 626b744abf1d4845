-- The inbox knows which events are in `demand` already.
DROP TABLE handled_events;
