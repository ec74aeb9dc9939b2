"""The run-time API: an ASGI application that takes grants in, and can open none (docs/api.md)."""

from __future__ import annotations

from worker.api.application import make_app

#: For any ASGI server. Nothing is opened before the first request.
app = make_app()
