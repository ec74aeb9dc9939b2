"""The SQL of a plan: what is due, held, paused or asked for."""
