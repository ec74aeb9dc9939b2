"""From the bytes of a response to an answer."""
