"""Pictures of Flower for the docs: `make screenshots`."""
