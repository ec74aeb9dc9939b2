"""What Celery may ask for. Each task is thin: it asks the runtime, and says how it went in Celery's words."""

from worker.imports import kept

with kept():
    from tasks import expiring, plan, prune, reconcile, refresh, webhooks
    from worker import lifecycle

__all__ = ["expiring", "lifecycle", "plan", "prune", "reconcile", "refresh", "webhooks"]
