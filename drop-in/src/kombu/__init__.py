"""Kombu's names, provided by celeriac."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

from kombu import exceptions, utils

__all__ = ["exceptions", "utils"]
