"""Keep secrets out of logs and texts."""
