"""The SQL of grants that come at run time: API keys, sessions of Connect, issuers and registrations."""
