"""One refresh, from the message to the commit. Start with `refresher`."""
