"""The worker's side of callbacks: runs them in a sandbox, over HTTP or as a Celery task."""
