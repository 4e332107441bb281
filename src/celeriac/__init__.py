"""celeriac: a distributed task queue with Celery's API that loses nothing by default."""
