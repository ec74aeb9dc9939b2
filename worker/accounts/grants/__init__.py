"""Grants as consents bring them: read, checked, stored in the place of the old one, and ended."""
