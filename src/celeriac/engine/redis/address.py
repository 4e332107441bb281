"""Where the server is and how to talk to it: the URL and the user's options, checked once."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from celeriac.error import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() not in ("", "0", "f", "false", "n", "no")
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _steps(value: Any) -> tuple[int, ...]:
    steps = tuple(sorted(int(step) for step in value))
    if not steps or steps[0] != 0:
        raise ValueError("priority_steps must contain 0")
    return steps


def _order(value: Any) -> str:
    if value not in ("round_robin", "sorted", "priority"):
        raise ValueError("choose round_robin, sorted or priority")
    return str(value)


def _certificates(value: Any) -> str:
    name = str(getattr(value, "name", value)).lower().removeprefix("cert_")
    if name not in ("none", "optional", "required"):
        raise ValueError("choose none, optional or required")
    return name


def _same(value: Any) -> Any:
    return value


#: options of the connection, in the URL's query or in the transport options
_CONNECTION: dict[str, Callable[[Any], Any]] = {
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "socket_keepalive": _boolean,
    "socket_keepalive_options": dict,
    "health_check_interval": float,
    "max_connections": int,
    "client_name": _text,
    "credential_provider": _same,
    "ssl_cert_reqs": _certificates,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_check_hostname": _boolean,
}

#: options of the queues, in the transport options
_QUEUES: dict[str, Callable[[Any], Any]] = {
    "global_keyprefix": _text,
    "priority_steps": _steps,
    "sep": _text,
    "queue_order_strategy": _order,
    "unacked_key": _text,
    "unacked_index_key": _text,
    "visibility_timeout": float,
}

#: options of kombu and Celery without a meaning here: accepted so that a configuration moves over
_IGNORED = frozenset(
    (
        *("ack_emulation", "confirm_publish", "errback", "fanout_patterns", "fanout_prefix"),
        *("interval_max", "interval_start", "interval_step", "max_retries", "polling_interval"),
        *("protocol", "result_chord_ordered", "retry_on_timeout", "retry_policy"),
        *("unacked_mutex_expire", "unacked_mutex_key", "unacked_restore_interval"),
        *("unacked_restore_limit", "unacked_restore_throttle"),
    )
)


class Address(msgspec.Struct, frozen=True):
    """One database of one server.

    Attributes:
        scheme: as in the URL.
        host: name or address; empty for a socket file.
        port: TCP port.
        path: socket file; empty for TCP.
        db: number of the database.
        username: user of the server's access list, or None.
        password: its password, or None.
        options: the checked options, of the URL and of the user's settings; the URL wins.
    """

    scheme: str
    host: str
    port: int
    path: str
    db: int
    username: str | None
    password: str | None
    options: dict[str, Any]

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("rediss", "valkeys")

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return str(self.options.get("global_keyprefix", ""))

    @property
    def place(self) -> tuple[str, int, str, int, str]:
        """What two addresses must share to see the same keys."""
        return (self.host, self.port, self.path, self.db, self.prefix)

    @property
    def display(self) -> str:
        """The URL without its password and its options."""
        user = f"{self.username or ''}:**@" if self.password else ""
        if not self.password and self.username:
            user = f"{self.username}@"
        if self.path:
            return f"{self.scheme}://{user}{self.path}?virtual_host={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}/{self.db}"

    def option(self, name: str, default: Any) -> Any:
        """Return an option, or ``default`` when the user has not set it."""
        return self.options.get(name, default)


def parse(url: str, transport_options: Mapping[str, Any]) -> Address:
    """Return the address that ``url`` and the user's options name.

    Raises:
        ImproperlyConfigured: a part is malformed, or an option is unknown.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    local = scheme.endswith("+socket")
    number = query.pop("virtual_host", query.pop("db", None if not local else "0"))
    if number is None:
        number = parts.path.strip("/") or "0"
    password = query.pop("password", None)
    try:
        port, db = parts.port or 6379, int(unquote(number).strip("/"))
    except ValueError:
        raise ImproperlyConfigured(
            f'the port and the database of a {scheme} URL are numbers: "{scheme}://host:6379/0"'
        ) from None
    path = unquote((parts.netloc.rpartition("@")[2]) + parts.path) if local else ""
    if local and not path:
        raise ImproperlyConfigured('name the socket file: "redis+socket:///run/redis.sock"')
    return Address(
        scheme=scheme,
        host="" if local else unquote(parts.hostname or "localhost"),
        port=0 if local else port,
        path=path,
        db=db,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else password,
        options=_check(transport_options, {**_CONNECTION, **_QUEUES}, "transport option")
        | _check(query, _CONNECTION, "URL parameter"),
    )


def _check(
    given: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], kind: str
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name in _IGNORED:
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ImproperlyConfigured(f'unknown {kind} of Redis: "{name}"{hint}')
        if value is None:
            continue
        try:
            checked[name] = known[name](value)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"the {kind} {name} cannot be {value!r}: {error}") from None
    return checked
