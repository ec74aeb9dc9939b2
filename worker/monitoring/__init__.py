"""Prometheus metrics, the exporter, Flower."""
