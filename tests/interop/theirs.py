"""The application of the real Celery's workers."""

from celery import Celery
from tests.interop.subject import make_worker

app = make_worker(Celery)
