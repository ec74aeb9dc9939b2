"""The SQL of what was written down: execution history and audit trail."""
