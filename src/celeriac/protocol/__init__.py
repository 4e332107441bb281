"""All knowledge of Celery's wire format, as pure functions."""
