"""Celery's broker: queues, kombu's options and patches, message format and signatures."""
