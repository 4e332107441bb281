"""The worker: a supervisor and its children."""
