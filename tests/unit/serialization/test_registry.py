"""Serializers by name, the accept list, limits, and errors that name the culprit."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.error import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    LimitExceeded,
)
from celeriac.serialization import limit, registry
from celeriac.serialization.registry import Encoded, Serialization


def test_json_is_the_default_both_ways() -> None:
    serialization = Serialization()
    encoded = serialization.dumps({"a": (1, None)})
    assert encoded == Encoded(b'{"a": [1, null]}', "application/json", "utf-8")
    assert serialization.loads(*encoded) == {"a": [1, None]}


class Pickle:
    content_type = "application/x-python-serialize"
    content_encoding = "binary"
    dumps = staticmethod(pickle.dumps)
    loads = staticmethod(pickle.loads)


@pytest.fixture
def with_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    registry.register("pickle", Pickle())


@pytest.mark.usefixtures("with_pickle")
class TestUserSerializer:
    def test_it_is_read_only_where_it_is_accepted(self) -> None:
        encoded = Serialization().dumps({1, 2}, "pickle")
        assert encoded.content_type == Pickle.content_type
        assert Serialization(["pickle"]).loads(*encoded) == {1, 2}
        assert Serialization([Pickle.content_type]).loads(*encoded) == {1, 2}
        with pytest.raises(ContentDisallowed, match=r"x-python-serialize.*json.*accept_content"):
            Serialization().loads(*encoded)

    def test_json_is_not_read_where_only_it_is_accepted(self) -> None:
        with pytest.raises(ContentDisallowed):
            Serialization(["pickle"]).loads(b"1", "application/json", "utf-8")

    def test_its_errors_become_ours(self) -> None:
        serialization = Serialization(["pickle"])
        with pytest.raises(EncodeError, match=r"the value\['f'\]\[1\] cannot be written as pickle"):
            serialization.dumps({"f": [1, lambda: None]}, "pickle")
        with pytest.raises(DecodeError):
            serialization.loads(b"no pickle", Pickle.content_type, "binary")

    def test_its_bytes_are_not_judged_as_json(self) -> None:
        value = b"[" * 1000
        serialization = Serialization(["pickle"])
        assert serialization.encodable(value, "pickle")
        assert serialization.loads(*serialization.dumps(value, "pickle")) == value


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-python-serialize",
        "APPLICATION/JSON",
        "application/json; v=2",
        "",
        "\x00",
        "json",
    ],
)
def test_content_types_are_compared_exactly(content_type: str) -> None:
    with pytest.raises(ContentDisallowed):
        Serialization().loads(b"1", content_type, "utf-8")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(DecodeError, match="utf-16"):
        Serialization().loads(b"1", "application/json", "utf-16")


def test_an_unknown_serializer_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ImproperlyConfigured, match="'jsno'; use one of json"):
        Serialization(["jsno"])
    with pytest.raises(ImproperlyConfigured, match="register"):
        Serialization().dumps(1, "yaml")


class Colour(Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int


class Row:
    pass


@pytest.mark.parametrize(
    ("value", "kind", "cure"),
    [
        ({1}, "builtins.set", "list"),
        (timedelta(1), "datetime.timedelta", "total_seconds"),
        (Colour.RED, "Colour", r"value\.value"),
        (Path("x"), "pathlib", "str"),
        (Point(1), "Point", "asdict"),
        (ValueError(), "ValueError", "str"),
        (bytearray(), "bytearray", "bytes"),
        (iter([]), "iterator", "list"),
        (Row(), "Row", "register_type"),
    ],
)
def test_an_error_names_the_place_the_type_and_the_cure(value: Any, kind: str, cure: str) -> None:
    body = ([{"ok": 1, "when": [0, value]}], {}, None)
    with pytest.raises(EncodeError) as caught:
        Serialization().dumps(body, names=("args", "kwargs", "embed"))
    text = str(caught.value)
    assert text.startswith("args[0]['when'][1] cannot be written as json: ")
    assert kind in text
    with pytest.raises(EncodeError, match=cure):
        Serialization().dumps(value)


def test_a_key_that_is_not_text_is_named() -> None:
    with pytest.raises(EncodeError, match=r"kwargs\['a'\] .*key \(1, 2\) is of type tuple"):
        Serialization().dumps(((), {"a": {(1, 2): 3}}), names=("args", "kwargs"))


def test_a_cycle_is_told_from_mere_depth() -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    with pytest.raises(EncodeError, match="contains itself"):
        Serialization().dumps(loop)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EncodeError, match="too deep"):
        Serialization().dumps(deep)


def test_an_integer_too_long_for_python_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match=r"the value\[0\]"):
        Serialization().dumps([10**5000])


def test_what_an_encoder_of_a_user_raises_is_kept_as_the_cause() -> None:
    class Broken:
        def __json__(self) -> Any:
            raise RuntimeError("no wings")

    with pytest.raises(EncodeError, match="no wings") as caught:
        Serialization().dumps({"plane": Broken()})
    assert isinstance(caught.value.__cause__, RuntimeError)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_depth_is_bounded_both_ways() -> None:
    serialization = Serialization(max_depth=5)
    assert serialization.loads(nested(5), "application/json", "utf-8") == [[[[[]]]]]
    with pytest.raises(LimitExceeded, match="5"):
        serialization.loads(nested(6), "application/json", "utf-8")
    with pytest.raises(EncodeError, match="5"):
        serialization.dumps([[[[[[]]]]]])
    assert serialization.encodable([[[[[]]]]])
    assert not serialization.encodable([[[[[[]]]]]])
    assert not serialization.encodable({1})


def test_breadth_is_not_depth() -> None:
    wide = [[{"a": "]]]}}}"}] for _ in range(1000)]
    serialization = Serialization(max_depth=3)
    assert serialization.loads(*serialization.dumps(wide)) == wide


def test_brackets_in_strings_are_not_depth() -> None:
    text = ['[[[["\\', '\\"[[[[', "[[[[\\\\", '\\\\"{{{']
    serialization = Serialization(max_depth=1)
    assert serialization.loads(*serialization.dumps(text)) == text


def test_size_is_bounded_both_ways() -> None:
    serialization = Serialization(max_bytes=10)
    assert serialization.loads(*serialization.dumps("12345678")) == "12345678"
    with pytest.raises(LimitExceeded, match="10"):
        serialization.loads(b'"123456789"', "application/json", "utf-8")
    with pytest.raises(EncodeError, match="reference"):
        serialization.dumps("123456789")


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


TEXT = st.text(st.sampled_from('"\\[]{}a,:'))


@pytest.mark.parametrize("chunk", [1, 3, 64 * 1024])
@given(value=st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_the_depth_of_bytes_is_the_depth_of_the_value(chunk: int, value: Any) -> None:
    text = Serialization().dumps(value).body
    levels = depth_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limit, "_CHUNK", chunk)
        assert limit.is_deeper(text, levels - 1)
        assert not limit.is_deeper(text, levels)
