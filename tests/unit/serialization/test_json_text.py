"""The JSON of kombu: what it writes, what it reads, and how it refuses."""

from __future__ import annotations

import json as standard
import sys
import types
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.error import DecodeError
from celeriac.serialization import json

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFSETS = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))])
TAGGED = (
    st.datetimes(timezones=OFFSETS)
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary()
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters(codec=None, categories=["Cs", "Lu", "Cc"]))
)


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
    )


@given(trees(PLAIN | TAGGED))
def test_what_is_written_is_read_back(value: Any) -> None:
    assert json.loads(json.dumps(value)) == value


@given(trees(PLAIN | st.floats()))
def test_plain_values_are_written_and_read_as_by_the_standard_library(value: Any) -> None:
    text = json.dumps(value)
    assert text == standard.dumps(value).encode()
    # repr, because NaN is not equal to itself and -0.0 equals 0.0
    assert repr(json.loads(text)) == repr(standard.loads(text))


@given(st.text(st.sampled_from('[]{},:"\\ \n019.eE+-ntfalsue/b\ud800é')))
def test_any_text_is_read_as_the_standard_library_reads_it(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    try:
        expected = repr(standard.loads(data.decode()))
    except ValueError:
        with pytest.raises(DecodeError):
            json.loads(data)
    else:
        assert repr(json.loads(data)) == expected


class Colour(IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Plane:
    def __json__(self) -> dict[str, int]:
        return {"wings": 2}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            datetime(2026, 1, 2, 3, 4, 5),
            '{"__type__": "datetime", "__value__": "2026-01-02T03:04:05"}',
        ),
        (date(2026, 1, 2), '{"__type__": "date", "__value__": "2026-01-02"}'),
        (time(3, 4, 5, 6), '{"__type__": "time", "__value__": "03:04:05.000006"}'),
        (Decimal("1.10"), '{"__type__": "decimal", "__value__": "1.10"}'),
        (UUID(int=5), '{"__type__": "uuid", "__value__": {"hex": "' + "0" * 31 + '5"}}'),
        ("é".encode(), '{"__type__": "bytes", "__value__": "\\u00e9"}'),
        (b"\xff\x00", '{"__type__": "base64", "__value__": "/wA="}'),
        (Plane(), '{"wings": 2}'),
        (Colour.RED, "1"),
        (Point(1, 2), "[1, 2]"),
        ((1, (2,)), "[1, [2]]"),
        ("\ud800", '"\\ud800"'),
        (float("inf"), "Infinity"),
        ({1: None, None: 2.5}, '{"1": null, "null": 2.5}'),
        (2**70, str(2**70)),
    ],
)
def test_the_text_is_kombus(value: Any, text: str) -> None:
    assert json.dumps(value).decode() == text


def test_a_version_that_older_kombu_adds_to_a_uuid_is_ignored() -> None:
    digits = "12345678123456781234567812345678"
    for version in ("4", "7", "null"):
        value = f'{{"hex": "{digits}", "version": {version}}}'
        text = f'{{"__type__": "uuid", "__value__": {value}}}'
        assert json.loads(text.encode()) == UUID(hex=digits)


@pytest.mark.parametrize(
    "value",
    [
        {"__type__": "planet", "__value__": 1},
        {"__type__": ["datetime"], "__value__": 1},
        {"__type__": "datetime"},
        {"__type__": "datetime", "__value__": "2026-01-02", "more": 1},
    ],
)
def test_unknown_tags_stay_dicts(value: dict[str, Any]) -> None:
    assert json.loads(standard.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("marker", "value"),
    [
        ("datetime", "yesterday"),
        ("datetime", 5),
        ("date", None),
        ("time", {}),
        ("decimal", "ten"),
        ("decimal", []),
        ("uuid", "00000000000000000000000000000005"),
        ("uuid", {"hex": "5"}),
        ("bytes", 1),
        ("bytes", "\ud800"),
        ("base64", "a"),
        ("base64", "é"),
    ],
)
def test_a_tag_with_a_value_that_does_not_fit_is_an_error(marker: str, value: Any) -> None:
    text = standard.dumps([{"__type__": marker, "__value__": value}]).encode()
    with pytest.raises(DecodeError, match=marker):
        json.loads(text)
    assert json.loads(text, tags=False) == [{"__type__": marker, "__value__": value}]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "_encoders", dict(json._encoders))
    monkeypatch.setattr(json, "_decoders", dict(json._decoders))


@pytest.mark.usefixtures("registry")
def test_a_registered_type_travels() -> None:
    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    class Tip(Money):
        pass

    json.register_type(Money, "money", lambda money: money.cents, Money)
    text = json.dumps([Money(5), Tip(6)])
    assert text == (
        b'[{"__type__": "money", "__value__": 5}, {"__type__": "money", "__value__": 6}]'
    )
    assert [money.cents for money in json.loads(text)] == [5, 6]


def test_lazy_text_of_django_is_written_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Promise:
        def __str__(self) -> str:
            return "hello"

    django = types.ModuleType("django.utils.functional")
    django.Promise = Promise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "django.utils.functional", django)
    assert json.dumps(Promise()) == b'"hello"'


def deep(levels: int) -> Iterator[bytes]:
    yield b"[" * levels
    yield b'{"a":' * levels
    yield b"[" * levels + b"]" * levels
    yield b'{"__type__":' * levels + b"1" + b"}" * levels


def test_deep_nesting_is_an_error_even_without_a_bound() -> None:
    for text in deep(100_000):
        with pytest.raises(DecodeError):
            json.loads(text)


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff", b"\xef\xbb\xbf1", b"{", b"nul", b"[1,]", b"9" * 5000, b"\x00", b"1 2"],
)
def test_what_is_not_json_is_an_error(text: bytes) -> None:
    with pytest.raises(DecodeError):
        json.loads(text)
