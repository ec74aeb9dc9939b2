"""SQL: one module a table or a subject. Decides nothing."""
