"""Serializers by name and by content type, and the rules for what is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from celeriac.error import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    LimitExceeded,
)
from celeriac.serialization import json, limit
from celeriac.serialization.fault import refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "binary", ""})


class Serializer(Protocol):
    """Turns values into bytes and back.

    Attributes:
        content_type: its name on the wire, for instance ``application/json``.
        content_encoding: ``utf-8`` for text, ``binary`` for the rest.
    """

    content_type: str
    content_encoding: str

    def dumps(self, obj: Any, /) -> bytes:
        """Return the bytes for ``obj``; raise anything for what cannot be written."""

    def loads(self, data: bytes, /) -> Any:
        """Return the value of ``data``; raise anything for what cannot be read."""


class JSONSerializer:
    """kombu's JSON, see `celeriac.serialization.json`."""

    content_type = json.CONTENT_TYPE
    content_encoding = json.CONTENT_ENCODING
    dumps = staticmethod(json.dumps)
    loads = staticmethod(json.loads)


class Encoded(NamedTuple):
    """Serialized data and how to read it."""

    body: bytes
    content_type: str
    content_encoding: str


_by_name: dict[str, Serializer] = {}


def register(name: str, serializer: Serializer) -> None:
    """Make a serializer known under ``name``, for every application of this process.

    It is read only by applications that name it, or its content type, in ``accept_content``.
    """
    _by_name[name] = serializer


def serializer_for(name: str) -> Serializer:
    """Return the serializer called ``name``, which may also be a content type.

    Raises:
        ImproperlyConfigured: there is none.
    """
    found = _by_name.get(name)
    if found is None:
        found = next((one for one in _by_name.values() if one.content_type == name), None)
    if found is None:
        raise ImproperlyConfigured(
            f"no serializer is called {name!r}; use one of {', '.join(sorted(_by_name))}, or add"
            " it with celeriac.serialization.registry.register"
        )
    return found


class Serialization:
    """Writes with any registered serializer, and reads what is accepted, within limits.

    Args:
        accept: names or content types of what may be read (setting ``accept_content``).
        max_bytes: the longest data read or written, bytes.
        max_depth: how deep JSON may be nested.

    Raises:
        ImproperlyConfigured: ``accept`` names a serializer that is not registered.
    """

    def __init__(
        self,
        accept: Collection[str] = ("json",),
        *,
        max_bytes: int = limit.MAX_BYTES,
        max_depth: int = limit.MAX_DEPTH,
    ) -> None:
        self.accept = tuple(accept)
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        found = [serializer_for(name) for name in self.accept]
        self._readers = {one.content_type: one for one in found}

    def dumps(self, obj: object, serializer: str = "json", *, names: Sequence[str] = ()) -> Encoded:
        """Return ``obj`` serialized.

        Args:
            obj: the value.
            serializer: the name of a registered serializer.
            names: what errors call the elements of ``obj``, which then is a tuple.

        Raises:
            EncodeError: the value cannot be written, or is larger or nested deeper than anyone
                would read; the message tells where and what to do.
            ImproperlyConfigured: no such serializer.
        """
        chosen = _by_name.get(serializer) or serializer_for(serializer)
        try:
            body = chosen.dumps(obj)
        except Exception as error:
            raise refusal(obj, chosen.dumps, serializer, names) from error
        try:
            if len(body) > self.max_bytes or body.count(b"[") + body.count(b"{") > self.max_depth:
                self._check(body, chosen.content_type)
        except LimitExceeded as error:
            raise EncodeError(
                f"the value is too large to be read back as {serializer}: {error};"
                " keep it elsewhere and send a reference to it"
            ) from error
        return Encoded(body, chosen.content_type, chosen.content_encoding)

    def loads(self, body: bytes, content_type: str, content_encoding: str) -> Any:
        """Return the value of serialized data.

        Raises:
            ContentDisallowed: its content type is not accepted; nothing was decoded.
            LimitExceeded: it is too large or nested too deep; nothing was decoded.
            DecodeError: it cannot be read.
        """
        reader = self._readers.get(content_type)
        if reader is None:
            raise ContentDisallowed(
                f"received content of type {content_type!r}, but only"
                f" {', '.join(self.accept) or 'nothing'} is accepted; senders must use an accepted"
                " serializer, or the setting accept_content must name this one"
            )
        if content_encoding.lower() not in _ENCODINGS:
            raise DecodeError(f"unknown content encoding {content_encoding!r}; use utf-8 or binary")
        if len(body) > self.max_bytes or body.count(b"[") + body.count(b"{") > self.max_depth:
            self._check(body, content_type)
        try:
            return reader.loads(body)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(f"cannot be read as {content_type}: {error}") from error

    def encodable(self, obj: object, serializer: str = "json") -> bool:
        """Tell whether `dumps` would take ``obj``."""
        chosen = serializer_for(serializer)
        try:
            self._check(chosen.dumps(obj), chosen.content_type)
        except Exception:  # noqa: BLE001 - encoders of users raise anything
            return False
        return True

    def _check(self, body: bytes, content_type: str) -> None:
        # Only of JSON can the depth be told from the bytes.
        depth = self.max_depth if content_type == json.CONTENT_TYPE else len(body)
        limit.check(body, self.max_bytes, depth)


register("json", JSONSerializer())
