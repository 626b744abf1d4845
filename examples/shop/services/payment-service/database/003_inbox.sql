-- The inbox knows which events have been worked in.
DROP TABLE handled_events;
