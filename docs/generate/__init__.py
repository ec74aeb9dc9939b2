"""Generators of docs pages; the product imports none of them."""
