"""One project, run by the real Celery on one side and by celeriac on the other.

Both are in `.venv-interop`.  Workers are processes of their own, as in a mixed fleet; the clients
of both sides are in the process of the test.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.interop.site import Site

from celeriac.identifier import token
from celeriac.testing.server import REDIS_URL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celeriac.testing.server import RedisServer


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The one database of all tests that bring their own key prefix."""
    if named := os.environ.get(REDIS_URL_VARIABLE):
        return named
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture(scope="module")
def shared_site(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A place for all tests of a module that leave its workers as they are."""
    site = Site(tmp_path_factory.mktemp("site"), server_url, f"test-{token()}:")
    yield site
    site.close()


@pytest.fixture
def site(request, server_url: str, tmp_path: Path) -> Iterator[Site]:
    """A place for one test, under a key prefix."""
    site = Site(tmp_path, server_url, f"test-{token()}:")
    yield site
    _end(site, request)


@pytest.fixture
def plain_site(
    request, private_redis: Callable[..., RedisServer], tmp_path: Path
) -> Iterator[Site]:
    """A place for one test, with a server of its own and without a key prefix."""
    site = Site(tmp_path, private_redis().url)
    yield site
    _end(site, request)


def _end(site: Site, request: pytest.FixtureRequest) -> None:
    site.close()
    if getattr(request.node, "failed", False):
        for worker in site.workers:
            print(f"--- {worker.log.name}\n{worker.output()[-4000:]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Remember a failure, so that the output of the workers is shown."""
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report
