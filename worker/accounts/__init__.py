"""Accounts as people give them: read from files and commands, checked field by field, merged with what is stored."""
