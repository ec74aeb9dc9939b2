"""Celery's tasks. Each is thin: it calls the runtime, and ends in the state that Celery and Flower show."""

from worker.broker.gc_freeze import kept

with kept():
    from tasks import expiring, intake, plan, prune, reconcile, refresh, registrations, webhooks
    from worker.celery import signals as lifecycle

__all__ = [
    "expiring",
    "intake",
    "lifecycle",
    "plan",
    "prune",
    "reconcile",
    "refresh",
    "registrations",
    "webhooks",
]
