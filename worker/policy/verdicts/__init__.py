"""What an answer means: one table of errors, words and statuses, and its sentences."""
