"""Redis: published tokens, leases, rate limits, pending answers."""
