"""Authorization servers known by their issuer: stored metadata, calls that follow them, and clients that were registered."""
