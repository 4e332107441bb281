"""Servers for tests: private ones that may be hurt, and the rule for when there is none."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, NoReturn, Self
from urllib.parse import urlsplit

import pytest

from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

#: Names a server to be used instead of a private one.
REDIS_URL_VARIABLE = "CELERIAC_TEST_REDIS_URL"
#: Where a Redis is looked for when there is no binary to start one.
REDIS_DEFAULT_URL = "redis://127.0.0.1:6379/0"
#: Databases of a private server, so that each test can have one of its own.
DATABASES = 10_000


def unavailable(what: str) -> NoReturn:
    """Skip the test on a laptop, fail it in CI: there a missing server is a mistake.

    Args:
        what: what is missing and how to get it.
    """
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what} (required because CI is set)", pytrace=False)
    pytest.skip(what)


def free_port() -> int:
    """Return a TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Tell whether a Redis server answers there, even if only to ask for a password."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 6379)
    try:
        with socket.create_connection(address, timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


class RedisServer:
    """A Redis server of the test's own, which may be killed, paused and restarted.

    Attributes:
        directory: where it keeps its files.
        port: where it listens, on 127.0.0.1; the same after a restart.
        password: what it asks for, or None.
    """

    def __init__(
        self,
        directory: Path,
        *,
        append_only: bool = False,
        password: str | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Choose the settings; nothing is started yet.

        Args:
            directory: an existing directory.
            append_only: write an append-only file with ``appendfsync always``, so that a restart
                brings everything back; without it a restarted server is empty.
            password: what clients must give.
            options: further arguments of ``redis-server``.
        """
        self.directory = directory
        self.password = password
        self.port = free_port()
        self._options = [*options]
        if append_only:
            self._options += ["--appendonly", "yes", "--appendfsync", "always"]
        if password is not None:
            self._options += ["--requirepass", password]
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def binary() -> str | None:
        """Return the path of ``redis-server``, or None when it is not installed."""
        return shutil.which("redis-server")

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return self.database(0)

    def database(self, number: int) -> str:
        """Return the URL of one of its databases."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/{number}"

    @property
    def pid(self) -> int:
        """The process id; an error when it does not run."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, and return once it answers.

        Raises:
            RuntimeError: it ended instead; the message is what it logged.
        """
        binary = self.binary()
        if binary is None:
            unavailable("redis-server is not installed (Debian: apt install redis-server)")
        log = self.directory / "redis.log"
        arguments = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        arguments += ["--databases", str(DATABASES), "--dir", str(self.directory)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the path is from the system's search path
                [binary, *arguments, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

        def ready() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"redis-server ended: {log.read_text(errors='replace')}")
            return answers(self.url)

        eventually(ready)

    def stop(self) -> None:
        """End it in good order; harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
