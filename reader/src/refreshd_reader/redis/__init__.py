"""Connections to Redis: URL, pool, wire format, announcements."""
