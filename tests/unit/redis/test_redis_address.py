"""URLs and options."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from celeriac.engine import redis as engine
from celeriac.engine.redis.address import parse
from celeriac.error import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://", ("localhost", 6379, "", 0, "")),
        ("redis://example.org", ("example.org", 6379, "", 0, "")),
        ("redis://example.org:7000/3", ("example.org", 7000, "", 3, "")),
        ("redis://example.org//3", ("example.org", 6379, "", 3, "")),
        ("redis://[::1]:7000/1", ("::1", 7000, "", 1, "")),
        ("valkey://example.org/2", ("example.org", 6379, "", 2, "")),
        ("redis+socket:///run/redis.sock?virtual_host=4", ("", 0, "/run/redis.sock", 4, "")),
        ("redis+socket:///run/redis.sock", ("", 0, "/run/redis.sock", 0, "")),
    ],
)
def test_place(url: str, place: tuple[Any, ...]) -> None:
    assert parse(url, {}).place == place


def test_credentials_are_unquoted_and_not_shown() -> None:
    address = parse("redis://us%40er:p%2Fw%3A@example.org/1", {})
    assert (address.username, address.password) == ("us@er", "p/w:")
    assert address.display == "redis://us@er:**@example.org:6379/1"


def test_password_without_user() -> None:
    address = parse("redis://:secret@example.org", {})
    assert (address.username, address.password) == (None, "secret")
    assert "secret" not in address.display


def test_password_of_a_socket() -> None:
    address = parse("redis+socket:///run/redis.sock?password=secret", {})
    assert address.password == "secret"
    assert "secret" not in address.display


@pytest.mark.parametrize(
    ("scheme", "tls"), [("redis", False), ("rediss", True), ("valkey", False), ("valkeys", True)]
)
def test_tls(scheme: str, tls: bool) -> None:
    assert parse(f"{scheme}://example.org", {}).tls is tls


def test_tls_options_of_the_url() -> None:
    url = "rediss://example.org/0?ssl_cert_reqs=CERT_NONE&ssl_ca_certs=/ca.pem"
    assert parse(url, {}).options == {"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"}


def test_the_url_wins() -> None:
    address = parse("redis://h?socket_timeout=3", {"socket_timeout": 9, "client_name": "x"})
    assert address.options == {"socket_timeout": 3.0, "client_name": "x"}


def test_options_of_kombu_are_accepted() -> None:
    options = {"fanout_prefix": True, "unacked_restore_limit": 3, "retry_on_timeout": True}
    assert parse("redis://h", options).options == {}


def test_an_unknown_option_names_the_near_one() -> None:
    with pytest.raises(ImproperlyConfigured, match=r'"visibilty_timeout".*"visibility_timeout"'):
        parse("redis://h", {"visibilty_timeout": 3})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h:port/0", {}),
        ("redis://h/zero", {}),
        ("redis+socket://", {}),
        ("redis://h?nonsense=1", {}),
        ("redis://h", {"priority_steps": [3, 6]}),
        ("redis://h", {"priority_steps": []}),
        ("redis://h", {"visibility_timeout": "soon"}),
        ("redis://h", {"queue_order_strategy": "random"}),
        ("redis://h", {"global_keyprefix": 7}),
        ("rediss://h?ssl_cert_reqs=maybe", {}),
    ],
)
def test_malformed(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured):
        parse(url, options)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImproperlyConfigured, match=r'pip install "celeriac\[redis\]"'):
        importlib.reload(engine)
