"""Connect: a customer's browser goes from a button to the provider's consent and back, and a worker stores the grant."""
