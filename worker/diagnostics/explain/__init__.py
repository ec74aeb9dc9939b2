"""`explain`: the facts of one account, and the rules that name the cause."""
