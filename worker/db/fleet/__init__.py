"""Questions about all accounts at once: counts, outages, grants that expire."""
