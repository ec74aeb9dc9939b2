"""The SQL of what Redis has and lacks of accounts."""
