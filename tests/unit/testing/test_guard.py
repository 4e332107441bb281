"""The guard of tests/unit/conftest.py works."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def test_unit_tests_have_no_network() -> None:
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match="connects to"):
        client.connect(("127.0.0.1", 9))
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match="connects to"):
        client.connect_ex(("127.0.0.1", 9))


def test_unix_sockets_are_allowed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(FileNotFoundError):
        client.connect(str(tmp_path / "nobody"))
