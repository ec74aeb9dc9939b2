"""What Celery may ask for. Each task is thin: it asks the runtime, and says how it went in Celery's words."""

from worker.broker.gc_freeze import kept

with kept():
    from tasks import expiring, plan, prune, reconcile, refresh, webhooks
    from worker.celery import signals as lifecycle

__all__ = ["expiring", "lifecycle", "plan", "prune", "reconcile", "refresh", "webhooks"]
