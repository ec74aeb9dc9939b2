"""Connect in the API process."""
