"""The SQL of a fleet that is mended: a restored database, lost commits, rotated keys."""
