"""Files of accounts: CSV, JSON Lines, YAML, properties, Nango; reading and export."""
