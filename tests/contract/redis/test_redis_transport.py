"""The ways to a server: TLS and socket files."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from celeriac.error import BrokerRefused
from celeriac.testing.contracts.process import Process, ack, ids, message, outgoing
from celeriac.testing.server import free_port, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celeriac.broker.base import Broker
    from celeriac.testing.server import RedisServer

BIG = message(args=["x" * 3_000_000])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key beside it."""
    if shutil.which("openssl") is None:
        unavailable("no openssl")
    path = tmp_path / "server.crt"
    arguments = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=t"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(path), "-keyout", str(path.with_suffix(".key"))]
    subprocess.run(["openssl", *arguments, *names, *files], check=True, capture_output=True)
    return path


@pytest.fixture
def tls_port(private_redis: Callable[..., RedisServer], certificate: Path) -> int:
    port = free_port()
    files = ["--tls-cert-file", str(certificate), "--tls-key-file"]
    options = ["--tls-port", str(port), *files, str(certificate.with_suffix(".key"))]
    private_redis(options=[*options, "--tls-auth-clients", "no"])
    return port


def use(broker: Broker) -> None:
    """Send and receive more than one read of a socket holds."""
    process = Process(broker, "q")
    small = outgoing("q", priority=3)
    asyncio.run(broker.apublish([outgoing("q", message=BIG)]))
    broker.publish([outgoing("q", message=BIG), small])
    delivered = process.take(3)
    assert ids(delivered) == [BIG.id, BIG.id, small.message.id]
    assert delivered[0].message is not None
    assert delivered[0].message.body == BIG.body
    assert process.consumer.receive(1, 0.3) == []
    assert process.settle(*map(ack, delivered)) == [True] * 3
    process.consumer.close()


def test_tls(connect: Callable[..., Broker], tls_port: int, certificate: Path) -> None:
    use(connect(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate}"))


def test_tls_checks_the_certificate(connect: Callable[..., Broker], tls_port: int) -> None:
    with pytest.raises(BrokerRefused, match="ssl_ca_certs"):
        connect(f"rediss://127.0.0.1:{tls_port}/0").ping()


def test_tls_unchecked(connect: Callable[..., Broker], tls_port: int) -> None:
    use(connect(f"valkeys://127.0.0.1:{tls_port}/0?ssl_cert_reqs=none"))


def test_socket_file(
    connect: Callable[..., Broker], private_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    path = tmp_path / "s"
    private_redis(options=["--unixsocket", str(path)], password="p%w")
    use(connect(f"redis+socket://:p%25w@{path}?virtual_host=2"))
