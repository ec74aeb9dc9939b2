"""Webhooks: notices, the sender, the HTTP client."""
