"""From an account and its provider to a request, with every way of client authentication."""
