"""A database file, and brokers on it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.broker.base import BrokerOptions
from celeriac.broker.sqlite import SQLiteBroker
from celeriac.engine.sqlite import Location
from celeriac.identifier import token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(f"{tmp_path}/queue.db")


@pytest.fixture
def connect(location: Location) -> Iterator[Callable[..., SQLiteBroker]]:
    """Open brokers on one file; they are closed after the test."""
    opened: list[SQLiteBroker] = []

    def connect(path: str = location.path, **options: Any) -> SQLiteBroker:
        opened.append(SQLiteBroker(f"sqlite:///{path}", BrokerOptions(**options)))
        return opened[-1]

    yield connect
    for broker in opened:
        broker.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Mount small file systems in memory, where this user may."""
    mounted: list[str] = []

    def mount(size: str) -> str:
        path = str(tmp_path / token())
        os.mkdir(path)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("not allowed to mount a file system")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", path], check=True)
