"""A provider's data from its address: the documents that authorization servers and resources publish about themselves."""
