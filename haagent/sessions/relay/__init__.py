"""`store: redis`: the same door, and behind it a Redis or Valkey that others run. What comes in is passed on."""
