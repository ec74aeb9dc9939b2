"""Clients as people give them, and what their changes mean for accounts."""
