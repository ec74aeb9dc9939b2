"""The SQL of accounts and clients, as people and programs give, find and read them."""
