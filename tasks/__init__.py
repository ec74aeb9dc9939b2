"""What Celery may ask for. Each task is thin: it asks the runtime, and says how it went in Celery's words."""

from tasks import plan, prune, reconcile, refresh, webhooks

__all__ = ["plan", "prune", "reconcile", "refresh", "webhooks"]
