"""PostgreSQL: connections, straight or through a pooler, and its password."""
