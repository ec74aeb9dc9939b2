"""What Celery may ask for. Each task is thin: it asks the runtime, and says how it went in Celery's words."""

from tasks import expiring, plan, prune, reconcile, refresh, webhooks

__all__ = ["expiring", "plan", "prune", "reconcile", "refresh", "webhooks"]
