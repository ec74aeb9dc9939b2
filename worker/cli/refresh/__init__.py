"""`refreshd refresh`, and what commands ask of the workers."""
