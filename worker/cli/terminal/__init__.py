"""What commands share: console output, prompts, pipes, signals, lazy loading."""
