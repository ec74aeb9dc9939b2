"""Encryption of stored secrets, and where keys come from."""
