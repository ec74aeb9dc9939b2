"""The demo's OAuth provider; `python -m worker.local.demo.provider` runs it."""
