"""What an application is assembled of, made from its settings."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

from celeriac.broker import open_broker
from celeriac.broker.base import Broker, BrokerOptions
from celeriac.error import ImproperlyConfigured
from celeriac.routing import Router
from celeriac.serialization.registry import Serialization
from celeriac.store import open_store
from celeriac.store.base import Store, StoreOptions

if TYPE_CHECKING:
    from celeriac.clock import Clock
    from celeriac.config import Settings


def broker(conf: Settings, url: str, clock: Clock) -> Broker:
    """Return the broker that ``url`` names.

    Raises:
        ImproperlyConfigured: there is no adapter for it, or it does not take the options.
    """
    options = BrokerOptions(
        lease_ttl=conf.lease_ttl,
        recovery_grace=conf.recovery_grace,
        publish_timeout=conf.publish_timeout,
        dead_letter_ttl=conf.dead_letter_ttl,
        max_message_bytes=conf.max_message_bytes,
        transport_options=conf.broker_transport_options,
        clock=clock,
    )
    return open_broker(_only(url, "broker_url"), options)


def store(conf: Settings, url: str | None, clock: Clock) -> Store:
    """Return the result store that ``url`` names; None means a store that keeps nothing.

    Raises:
        ImproperlyConfigured: there is no adapter for it, or it does not take the options.
    """
    options = StoreOptions(transport_options=conf.result_backend_transport_options, clock=clock)
    return open_store(_only(url or "disabled://", "result_backend"), options)


def timezone(conf: Settings, name: str) -> tzinfo:
    """Return the time zone that the setting ``name`` means; UTC when it is not set.

    Raises:
        ImproperlyConfigured: this machine does not know it.
    """
    value = conf[name]
    if value is None or value == "UTC":
        return UTC
    if isinstance(value, tzinfo):
        return value
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise ImproperlyConfigured(
            f"the setting {name}: there is no time zone {value!r} here; use a name such as "
            '"Europe/Vienna" (on Windows: pip install tzdata)'
        ) from error


def serialization(conf: Settings, name: str) -> Serialization:
    """Return what reads the content types that the setting ``name`` lists."""
    accept = conf[name] or conf.accept_content
    return Serialization(accept, max_bytes=conf.max_message_bytes)


def router(conf: Settings, _: str) -> Router:
    """Return what finds queues."""
    return Router(
        conf.task_queues,
        conf.task_routes,
        conf.task_default_queue,
        conf.task_create_missing_queues,
    )


def _only(url: str, setting: str) -> str:
    if ";" in url:
        raise ImproperlyConfigured(
            f"{setting} names several URLs; failing over from one to the next is not available in "
            "this version of celeriac: give one"
        )
    return url
