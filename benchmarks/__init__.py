"""Measurements of celeriac beside Celery, in one run, interleaved, as ratios of medians."""
