"""`refreshd history` and `refreshd audit`."""
