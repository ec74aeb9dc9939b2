"""The HTTP client of token endpoints: request, authentication, transport, response."""
