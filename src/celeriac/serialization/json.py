"""JSON with the type tags of kombu, the format that Celery's workers and clients exchange.

Written with the standard encoder, byte for byte as kombu writes.  Read with msgspec, which gives
the same values several times faster; what it refuses but kombu can write (NaN, lone surrogates,
numbers out of range) is left to the standard decoder, which also has the last word on errors.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
import uuid
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from celeriac.error import DecodeError, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT_TYPE = "application/json"
CONTENT_ENCODING = "utf-8"

T = TypeVar("T")

_encoders: dict[type, tuple[str, Callable[[Any], Any]]] = {}
_decoders: dict[str, Callable[[Any], Any]] = {}


def register_type(
    cls: type[T],
    marker: str,
    encoder: Callable[[T], Any],
    decoder: Callable[[Any], T],
) -> None:
    """Teach JSON a type, for every application of this process.

    Senders and receivers both have to do so; a tag nobody knows arrives as a plain dict.

    Args:
        cls: the type; its subclasses are written the same way.
        marker: the name of the type on the wire.
        encoder: turns an instance into something JSON can write.
        decoder: turns that back into an instance.
    """
    _encoders[cls] = (marker, encoder)
    _decoders[marker] = decoder


def dumps(value: object) -> bytes:
    """Return ``value`` as kombu's JSON.

    Raises:
        TypeError, ValueError, RecursionError: as the standard encoder does, and whatever an
            encoder of a user raises.  `Serialization.dumps` makes an `EncodeError` of it.
    """
    return _encode(value).encode("ascii")


def loads(data: bytes, *, tags: bool = True) -> Any:
    """Return the value of a JSON text.

    Args:
        data: the text.
        tags: restore tagged types; otherwise they stay dicts.

    Raises:
        DecodeError: the text is not JSON, or the value of a tag does not fit its type.
        LimitExceeded: nested deeper than this thread's stack allows.
    """
    if tags and b"__type__" in data:
        return _loads(data, _tagged.decode)
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _loads(data, _untagged.decode)


def _loads(data: bytes, decode: Callable[[str], Any]) -> Any:
    try:
        return decode(data.decode())
    except RecursionError as error:
        raise LimitExceeded("nested deeper than the stack allows") from error
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from error


def _default(value: object) -> Any:
    """Return what stands for a value the standard encoder does not know."""
    reduce = getattr(value, "__json__", None)
    if reduce is not None:
        return reduce()
    known = _encoders.get(type(value))
    if known is None:
        known = next((known for cls, known in _encoders.items() if isinstance(value, cls)), None)
    if known is not None:
        marker, encoder = known
        return {"__type__": marker, "__value__": encoder(value)}
    if isinstance(value, bytes):
        try:
            return {"__type__": "bytes", "__value__": value.decode()}
        except UnicodeDecodeError:
            return {"__type__": "base64", "__value__": base64.b64encode(value).decode()}
    if _is_lazy_text(value):
        return str(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")


def _is_lazy_text(value: object) -> bool:
    """Tell whether ``value`` is a lazy translation of Django, without importing Django."""
    django = sys.modules.get("django.utils.functional")
    return django is not None and isinstance(value, django.Promise)


def _restore(value: dict[str, Any]) -> Any:
    """Return what a decoded object stands for."""
    if len(value) != 2 or "__type__" not in value or "__value__" not in value:
        return value
    marker = value["__type__"]
    decoder = _decoders.get(marker) if isinstance(marker, str) else None
    if decoder is None:
        return value
    try:
        return decoder(value["__value__"])
    except RecursionError:
        raise
    except Exception as error:  # the decoder may be a user's
        raise DecodeError(f"the value tagged {marker!r} is not one: {error}") from error


def _uuid(value: Any) -> uuid.UUID:
    # Older kombu adds a "version", which says nothing that the digits do not say.
    return uuid.UUID(hex=value["hex"])


def _decimal(value: str) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a decimal number") from error


def _base64(value: str) -> bytes:
    return binascii.a2b_base64(value)


_encode = json.JSONEncoder(default=_default).encode
_tagged = json.JSONDecoder(object_hook=_restore)
_untagged = json.JSONDecoder()

# datetime comes before date, of which it is a subclass.
register_type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
register_type(date, "date", date.isoformat, lambda text: datetime.fromisoformat(text).date())
register_type(time, "time", time.isoformat, time.fromisoformat)
register_type(Decimal, "decimal", str, _decimal)
register_type(uuid.UUID, "uuid", lambda value: {"hex": value.hex}, _uuid)
_decoders["bytes"] = str.encode
_decoders["base64"] = _base64
