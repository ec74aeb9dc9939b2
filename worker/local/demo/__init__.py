"""`refreshd demo`: a local OAuth provider, accounts that it knows, and a view of what happens to them."""
