"""What is due: the planner, the reconciler, tokens that readers rejected."""
