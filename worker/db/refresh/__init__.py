"""The SQL of one refresh, and its stores for the event loop."""
