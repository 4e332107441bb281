"""The envelope: round trip, marks, and what hostile bytes may do."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.error import DecodeError, EncodeError, LimitExceeded
from celeriac.message import Message, Outgoing
from celeriac.protocol import envelope

KEYS = st.text(max_size=5).filter(lambda key: key not in ("id", "task"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(KEYS, VALUES | st.datetimes(timezones=st.just(UTC)), max_size=4)
MESSAGES = st.builds(
    Message,
    id=st.text(min_size=1, max_size=40),
    task=st.text(min_size=1, max_size=40),
    body=st.binary(),
    content_type=st.text(min_size=1, max_size=20),
    content_encoding=st.sampled_from(["utf-8", "binary"]),
    headers=HEADERS,
    properties=st.dictionaries(
        KEYS.filter(lambda key: key != "correlation_id"), VALUES, max_size=3
    ),
)


def sent(message: Message) -> Message:
    """Return ``message`` with the headers that a task message has."""
    return Message(
        message.id,
        message.task,
        message.body,
        message.content_type,
        message.content_encoding,
        {"id": message.id, "task": message.task, **message.headers},
        message.properties,
    )


def raw(**changes: Any) -> bytes:
    """Return a small envelope with changes; a change to ``...`` removes the key."""
    whole = {
        "body": base64.b64encode(b"[[], {}, null]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": "1", "task": "t"},
        "properties": {"body_encoding": "base64"},
    }
    named = {key.replace("_", "-"): value for key, value in changes.items()}
    whole = {key: value for key, value in {**whole, **named}.items() if value is not ...}
    return json.dumps(whole).encode()


@given(MESSAGES, st.text(max_size=10), st.integers())
def test_what_is_encoded_is_decoded(message: Message, queue: str, priority: int) -> None:
    message = sent(message)
    decoded = envelope.decode(envelope.encode(Outgoing(message, queue, priority=priority)))
    properties = dict(decoded.properties)
    assert properties.pop("delivery_info") == {"exchange": "", "routing_key": queue}
    assert properties.pop("priority") == priority
    assert properties.pop("body_encoding") == "base64"
    assert len(properties.pop("delivery_tag")) == 36
    given_properties = {
        key: value
        for key, value in message.properties.items()
        if key not in envelope.OF_ONE_SENDING
    }
    assert properties == given_properties
    assert decoded.headers == message.headers
    assert list(decoded.headers) == list(message.headers)
    assert (decoded.id, decoded.task, decoded.body) == (message.id, message.task, message.body)
    assert decoded.content_type == message.content_type
    assert decoded.content_encoding == message.content_encoding


def test_every_sending_has_a_tag_of_its_own() -> None:
    message = envelope.decode(raw())
    first, second = (
        envelope.decode(envelope.encode(Outgoing(message, "q"))).properties["delivery_tag"]
        for _ in range(2)
    )
    assert first != second


def test_the_routing_key_is_the_queue_unless_an_exchange_is_named() -> None:
    message = envelope.decode(raw())

    def info(outgoing: Outgoing) -> dict[str, str]:
        return envelope.decode(envelope.encode(outgoing)).properties["delivery_info"]

    assert info(Outgoing(message, "q")) == {"exchange": "", "routing_key": "q"}
    assert info(Outgoing(message, "q", "x")) == {"exchange": "x", "routing_key": ""}
    assert info(Outgoing(message, "q", "x", "k")) == {"exchange": "x", "routing_key": "k"}


def test_a_header_that_cannot_be_written_is_named() -> None:
    message = Message("1", "t", b"", headers={"id": "1", "x": [{2}]})
    with pytest.raises(EncodeError, match=r"headers\['x'\]\[0\] .*set"):
        envelope.encode(Outgoing(message, "q"))


def test_tagged_values_in_headers_are_restored() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    message = Message("1", "t", b"", headers={"id": "1", "task": "t", "when": moment})
    text = envelope.encode(Outgoing(message, "q"))
    assert b'"__type__": "datetime"' in text
    assert envelope.decode(text).headers["when"] == moment


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": ..., "properties": ...},
        {"headers": None, "properties": None},
        {"content_type": ..., "content_encoding": ...},
        {"content_type": None, "content_encoding": None},
        {"extra": 1},
    ],
)
def test_what_can_be_guessed_is_guessed(changes: dict[str, Any]) -> None:
    message = envelope.decode(raw(**changes))
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")


def test_without_body_encoding_the_body_is_text() -> None:
    assert envelope.decode(raw(body="é", properties={})).body == "é".encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"body": ...},
        {"body": None},
        {"body": {}},
        {"body": "no base64!"},
        {"body": "é"},
        {"body": "YQ"},
        {"body": "\ud800", "properties": {}},
        {"properties": {"body_encoding": "rot13"}},
        {"properties": {"body_encoding": ["base64"]}},
        {"headers": []},
        {"headers": "x"},
        {"properties": 5},
        {"content_type": 5},
        {"content_encoding": []},
        {"headers": {"id": 5}},
        {"headers": {"id": ["x"]}},
        {"headers": {"task": {}}},
        {"headers": {}, "properties": {"correlation_id": {}}},
        {"headers": {"id": "x" * 5000}},
        {"headers": {"__type__": "datetime", "__value__": "2026-01-01"}},
        {"headers": {"a": {"__type__": "datetime", "__value__": "never"}}},
    ],
)
def test_what_makes_no_sense_is_a_decode_error(changes: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        envelope.decode(raw(**changes))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NaN", "nan"),
        ("-Infinity", "-inf"),
        ('"\\ud800"', r"'\ud800'"),
        ("1e999", "inf"),
        ("9" * 300, "9" * 300),
    ],
)
def test_what_only_python_writes_is_read(text: str, value: str) -> None:
    message = envelope.decode(
        raw(headers={"id": "1", "x": "HERE"}).replace(b'"HERE"', text.encode())
    )
    assert repr(message.headers["x"]) == value


def test_of_duplicate_keys_the_last_counts() -> None:
    text = raw().replace(b'{"id": "1",', b'{"id": "0", "id": "1",')
    assert envelope.decode(text).id == "1"


@pytest.mark.parametrize("text", [b'{"body":' * 100_000, b"[" * 100_000, b'{"a":[' * 150])
def test_deep_nesting_is_refused_before_decoding(text: bytes) -> None:
    with pytest.raises(LimitExceeded, match="200"):
        envelope.decode(text)


def test_size_is_refused_before_decoding() -> None:
    with pytest.raises(LimitExceeded, match="bytes"):
        envelope.decode(b" " * (64 * 1024 * 1024 + 1))
    with pytest.raises(LimitExceeded):
        envelope.decode(raw(), max_bytes=20)
    with pytest.raises(LimitExceeded):
        envelope.decode(raw(), max_depth=1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "task", "body_encoding", "__type__", "__value__", "delivery_info"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PARTS = ["body", "headers", "properties", "content-type", "content-encoding"]


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_raise_nothing_but_decode_errors(data: bytes) -> None:
    with pytest.raises(DecodeError):
        envelope.decode(data)


@given(
    st.fixed_dictionaries({"body": JSON | st.just("YQ==")}, optional=dict.fromkeys(PARTS[1:], JSON))
)
def test_arbitrary_envelopes_raise_nothing_but_decode_errors(value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    try:
        message = envelope.decode(data)
    except DecodeError:
        return
    assert envelope.counts(message) == (False, 0, 0)
    patched = envelope.patch(data, redelivered=True, deaths=2, losses=3)
    assert envelope.counts(envelope.decode(patched)) == (True, 2, 3)


# -- marks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "properties", "expected"),
    [
        ({}, {}, (False, 0, 0)),
        ({"redelivered": True}, {}, (True, 0, 0)),
        ({}, {"delivery_info": {"redelivered": True}}, (True, 0, 0)),
        ({"x-celeriac-deaths": 2, "x-celeriac-losses": 1}, {}, (False, 2, 1)),
        ({"x-celeriac-deaths": -1, "x-celeriac-losses": 10**30}, {}, (False, 0, 0)),
        ({"x-celeriac-deaths": True, "x-celeriac-losses": "2"}, {}, (False, 0, 0)),
        ({"redelivered": "yes"}, {"delivery_info": [1]}, (False, 0, 0)),
    ],
)
def test_marks_that_make_no_sense_count_as_none(
    headers: dict[str, Any], properties: dict[str, Any], expected: tuple[bool, int, int]
) -> None:
    assert envelope.counts(Message("", "", b"", headers=headers, properties=properties)) == expected


def test_patching_changes_the_marks_and_nothing_else() -> None:
    text = envelope.encode(Outgoing(envelope.decode(raw(headers={"id": "1", "x": 1.5})), "q"))
    marked = envelope.patch(text, redelivered=True, deaths=2, losses=1)
    whole = json.loads(marked)
    assert whole["headers"] == {
        "id": "1",
        "x": 1.5,
        "redelivered": True,
        "x-celeriac-deaths": 2,
        "x-celeriac-losses": 1,
    }
    assert whole["properties"]["delivery_info"]["redelivered"] is True
    assert whole["body"] == json.loads(text)["body"]
    assert envelope.patch(marked, redelivered=False, deaths=0, losses=0) == text


def test_patching_keeps_tagged_and_unknown_parts_as_they_are() -> None:
    value = {"__type__": "uuid", "__value__": {"hex": "0" * 32, "version": 4}}
    text = raw(headers={"id": "1", "x": value}, later=[1])
    patched = json.loads(envelope.patch(text, redelivered=False, deaths=1, losses=0))
    assert patched["headers"] == {"id": "1", "x": value, "x-celeriac-deaths": 1}
    assert patched["later"] == [1]


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_patching_what_is_no_envelope_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        envelope.patch(data, redelivered=True, deaths=0, losses=0)
