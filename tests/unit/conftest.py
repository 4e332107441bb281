"""Unit tests use no network."""

from __future__ import annotations

import socket
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but those of Unix sockets."""
    for name in ("connect", "connect_ex"):
        real = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, real: Any = real) -> Any:
            if self.family is not socket.AF_UNIX:
                pytest.fail(f"a unit test connects to {address}; it belongs to tests/contract")
            return real(self, address)

        monkeypatch.setattr(socket.socket, name, guarded)
