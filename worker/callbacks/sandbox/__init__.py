"""The callback's side: the fork server and what runs in its children. Imports no store."""
