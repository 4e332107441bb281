"""Servers, places and the ledger for all tests."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.identifier import token
from celeriac.testing.ledger import VARIABLE, Ledger
from celeriac.testing.server import (
    REDIS_DEFAULT_URL,
    REDIS_URL_VARIABLE,
    RedisServer,
    answers,
    unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The private server of this test process."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis database.

    On the private server it belongs to this test alone.  On a server that runs already it is
    shared: use `redis_options` too, whose key prefix is always this test's own.
    """
    if named := os.environ.get(REDIS_URL_VARIABLE):
        return named
    if RedisServer.binary() is not None:
        server: RedisServer = request.getfixturevalue("redis_server")
        return server.database(next(_databases))
    if not answers(REDIS_DEFAULT_URL):
        unavailable(f"no Redis: install redis-server, or set {REDIS_URL_VARIABLE}")
    return REDIS_DEFAULT_URL


@pytest.fixture
def redis_options() -> dict[str, Any]:
    """Transport options that keep this test's keys apart from all others."""
    return {"global_keyprefix": f"test-{token()}:"}


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start Redis servers of the test's own: arguments as for `RedisServer`."""
    started: list[RedisServer] = []

    def start(**options: Any) -> RedisServer:
        directory = tmp_path / f"redis-{len(started)}"
        directory.mkdir()
        server = RedisServer(directory, **options)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path}/celeriac.db"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """An empty ledger, named by the environment of this process and its children."""
    directory = tmp_path / "ledger"
    directory.mkdir()
    monkeypatch.setenv(VARIABLE, str(directory))
    return Ledger(directory)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how much of the contracts each adapter has run."""
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            path, _, rest = report.nodeid.partition("::")
            if not path.endswith(("contract/test_brokers.py", "contract/test_stores.py")):
                continue
            reason = report.longrepr[2] if outcome == "skipped" else ""
            kind = "not its capability" if "capability: " in reason else outcome
            counts.setdefault(rest.partition("::")[0], Counter())[kind] += 1
    if counts:
        terminalreporter.section("contracts")
    for adapter, kinds in sorted(counts.items()):
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        terminalreporter.line(f"{adapter.removeprefix('Test')}: {text}")
