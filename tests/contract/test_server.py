"""The private servers and the fault proxy, tried on a real Redis."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from celeriac.testing.proxy import FaultProxy
from celeriac.testing.server import answers, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.testing.server import RedisServer


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20.0) as client:
        yield client


def request(line: str) -> bytes:
    parts = line.encode().split()
    bulk = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(parts), bulk)


def ask(client: socket.socket, line: str) -> bytes:
    client.sendall(request(line))
    return client.recv(1000)


def direct(server: RedisServer, line: str) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20.0) as client:
        return ask(client, line)


def test_proxy_passes(client: socket.socket, proxy: FaultProxy) -> None:
    assert ask(client, "ECHO hello") == b"$5\r\nhello\r\n"
    big = "x" * 500_000
    assert ask(client, f"SET big {big}") == b"+OK\r\n"
    client.sendall(b"GET big\r\n")
    reply = b""
    while len(reply) < 500_000 + len(b"$500000\r\n\r\n"):
        reply += client.recv(65536)
    assert reply == f"$500000\r\n{big}\r\n".encode()
    assert proxy.connections == 1


def test_proxy_cut(client: socket.socket, proxy: FaultProxy) -> None:
    ask(client, "PING")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    assert answers(f"redis://127.0.0.1:{proxy.port}")


def test_proxy_refuse(client: socket.socket, proxy: FaultProxy) -> None:
    ask(client, "PING")
    proxy.refuse()
    assert not answers(f"redis://127.0.0.1:{proxy.port}")
    proxy.heal()
    assert answers(f"redis://127.0.0.1:{proxy.port}")


def test_proxy_drops_one_reply(
    client: socket.socket, proxy: FaultProxy, server: RedisServer
) -> None:
    key = f"dropped-{proxy.port}"
    assert ask(client, "PING") == b"+PONG\r\n"
    proxy.drop_reply(after=b"INCR")
    assert ask(client, "PING") == b"+PONG\r\n"
    client.sendall(f"INCR {key}\r\n".encode())
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    assert proxy.dropped.is_set()
    assert direct(server, f"GET {key}") == b"$1\r\n1\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20.0) as second:
        assert ask(second, f"INCR {key}") == b":2\r\n"


def test_proxy_drops_a_reply_and_stays(client: socket.socket, proxy: FaultProxy) -> None:
    proxy.drop_reply(after=b"ECHO", cut=False)
    client.sendall(b"EC")
    client.sendall(b"HO lost\r\n")
    assert proxy.dropped.wait(20.0)
    assert ask(client, "PING") == b"+PONG\r\n"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_proxy_blackhole(client: socket.socket, proxy: FaultProxy, direction: str) -> None:
    proxy.blackhole(direction)  # type: ignore[arg-type]
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        ask(client, "PING")
    client.settimeout(20.0)
    proxy.heal()
    assert client.recv(10) == b"+PONG\r\n"


def test_proxy_cuts_through_a_blackhole(client: socket.socket, proxy: FaultProxy) -> None:
    ask(client, "PING")
    proxy.blackhole()
    client.sendall(b"PING\r\n")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(10)


def test_proxy_delay(client: socket.socket, proxy: FaultProxy) -> None:
    proxy.delay(0.2, "down")
    start = time.monotonic()
    assert ask(client, "PING") == b"+PONG\r\n"
    assert time.monotonic() - start >= 0.2


def test_proxy_truncate(client: socket.socket, proxy: FaultProxy) -> None:
    ask(client, "PING")
    proxy.truncate(3)
    client.sendall(b"PING\r\n")
    received: list[bytes] = []
    with pytest.raises(ConnectionResetError):
        received.extend(iter(lambda: client.recv(10), b""))
    assert received in ([], [b"+PO"])  # a reset may overtake what was sent before it


def test_proxy_closes_with_a_client_that_does_not_read(server: RedisServer) -> None:
    with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20.0) as client,
    ):
        client.sendall(request(f"SET wide {'x' * 8_000_000}") + request("GET wide"))
        client.recv(10)


def test_proxy_without_a_server(
    client: socket.socket, private_redis: Callable[..., RedisServer]
) -> None:
    gone = private_redis()
    with FaultProxy("127.0.0.1", gone.port) as proxy:
        assert answers(f"redis://127.0.0.1:{proxy.port}")
        gone.kill()
        assert not answers(f"redis://127.0.0.1:{proxy.port}")


def test_proxy_url(proxy: FaultProxy) -> None:
    assert proxy.url("redis://:secret@host:1234/7?a=b") == (
        f"redis://:secret@127.0.0.1:{proxy.port}/7?a=b"
    )
    assert proxy.url("redis://host") == f"redis://127.0.0.1:{proxy.port}"


def test_server_forgets_when_killed(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()
    assert direct(server, "SET key value") == b"+OK\r\n"
    server.restart()
    assert direct(server, "GET key") == b"$-1\r\n"


def test_server_remembers_with_an_append_only_file(
    private_redis: Callable[..., RedisServer],
) -> None:
    server = private_redis(append_only=True)
    assert direct(server, "SET key value") == b"+OK\r\n"
    port = server.port
    server.restart()
    assert server.port == port
    assert direct(server, "GET key") == b"$5\r\nvalue\r\n"


def test_server_with_a_password(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis(password="secret")
    assert direct(server, "GET key").startswith(b"-NOAUTH")
    assert server.url == f"redis://:secret@127.0.0.1:{server.port}/0"


def test_server_paused(private_redis: Callable[..., RedisServer]) -> None:
    server = private_redis()
    server.pause()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as client:
        with pytest.raises(TimeoutError):
            ask(client, "PING")
        server.resume()
        client.settimeout(20.0)
        assert client.recv(10) == b"+PONG\r\n"


def test_server_that_does_not_start(private_redis: Callable[..., RedisServer]) -> None:
    with pytest.raises(RuntimeError, match="redis-server ended"):
        private_redis(options=["--no-such-option", "1"])


def test_missing_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such server"):
        unavailable("no such server")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such server"):
        unavailable("no such server")
