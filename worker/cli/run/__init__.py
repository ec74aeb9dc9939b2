"""Commands that keep running: `up`, `demo`, `exporter`."""
