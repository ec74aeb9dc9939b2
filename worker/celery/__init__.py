"""What refreshd adds to a Celery worker: signals, boot steps, task strategy, dispatch."""
