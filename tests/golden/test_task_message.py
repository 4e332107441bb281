"""Task messages against bytes recorded from Celery."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from celeriac.error import ContentDisallowed, DecodeError, InvalidTaskError
from celeriac.message import Message, Outgoing
from celeriac.protocol import envelope, task
from celeriac.serialization.registry import Serialization

SAMPLES = json.loads(Path(__file__).with_name("wire_samples.json").read_text())
MESSAGES: dict[str, dict[str, Any]] = SAMPLES["messages"]
JSON = Serialization()

UNREADABLE = {
    "v2_serializer_pickle": ContentDisallowed,
    "v2_serializer_yaml": ContentDisallowed,
    "v2_serializer_msgpack": ContentDisallowed,
    "v2_compression_gzip": DecodeError,
    "v2_compression_bzip2": DecodeError,
    "v2_compression_xz": DecodeError,
}
WRITTEN = [name for name in MESSAGES if name.startswith("v2") and name not in UNREADABLE]
WRITTEN += ["topic", "filesystem"]

EXTENDED = {
    "dt": datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC),
    "d": date(2026, 1, 2),
    "t": time(3, 4, 5, 600000),
    "dec": Decimal("1.10"),
    "uuid": UUID(int=5),
    "b": b"abc",
    "b2": b"\xff\x00",
}

#: What the Python call said where the wire does not tell it: headers of the user, for instance.
SAID: dict[str, dict[str, Any]] = {
    "v2_full_options": {
        "headers": {"x-custom": "v", "headers": {"nested": 1}},
        "expiration": 60.0,
    },
    "v2_json_extended_types": {
        "args": (EXTENDED,),
        # Celery shows bytes that are not text as hexadecimal digits, we as repr does.
        "argsrepr": MESSAGES["v2_json_extended_types"]["headers"]["argsrepr"],
    },
}


def raw_of(sample: dict[str, Any]) -> bytes:
    return json.dumps(sample).encode()


def fields_of(name: str) -> task.Fields:
    """Return what the sender of a sample must have passed."""
    sample = MESSAGES[name]
    headers = sample["headers"]
    args, kwargs, embed = json.loads(base64.b64decode(sample["body"]))

    def moment(key: str) -> datetime | None:
        return headers[key] and datetime.fromisoformat(headers[key])

    fields: dict[str, Any] = {
        **embed,
        "id": headers["id"],
        "task": headers["task"],
        "args": tuple(args),
        "kwargs": kwargs,
        "shadow": headers["shadow"],
        "eta": moment("eta"),
        "expires": moment("expires"),
        "group_id": headers["group"],
        "group_index": headers["group_index"],
        "time_limit": headers["timelimit"][0],
        "soft_time_limit": headers["timelimit"][1],
        "origin": headers["origin"],
        "ignore_result": headers["ignore_result"],
        "stamped_headers": headers["stamped_headers"],
        "stamps": headers["stamps"],
        "reply_to": sample["properties"]["reply_to"],
    }
    return task.Fields(**{**fields, **SAID.get(name, {})})


def outgoing(message: Message, sample: dict[str, Any]) -> Outgoing:
    info = sample["properties"]["delivery_info"]
    return Outgoing(
        message,
        queue="celery",
        exchange=info["exchange"],
        routing_key=info["routing_key"],
        priority=sample["properties"]["priority"],
    )


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the next delivery tag the one of a sample."""

    def fix(sample: dict[str, Any]) -> None:
        monkeypatch.setattr(envelope, "uuid", lambda: sample["properties"]["delivery_tag"])

    return fix


@pytest.mark.parametrize("name", WRITTEN)
def test_a_message_is_written_byte_for_byte_as_celery_writes_it(name: str, tag: Any) -> None:
    sample = MESSAGES[name]
    tag(sample)
    message = task.build(fields_of(name), JSON)
    assert message.body == base64.b64decode(sample["body"])
    assert envelope.encode(outgoing(message, sample)) == raw_of(sample)


def test_the_envelope_has_the_spacing_of_a_recorded_text(tag: Any) -> None:
    for text in SAMPLES["raw_envelopes"].values():
        sample = json.loads(text)
        tag(sample)
        message = envelope.decode(text.encode())
        assert envelope.encode(outgoing(message, sample)) == text.encode()


@pytest.mark.parametrize("name", MESSAGES)
def test_every_recorded_message_is_decoded(name: str, tag: Any) -> None:
    sample = MESSAGES[name]
    message = envelope.decode(raw_of(sample))
    assert message.id == sample["properties"]["correlation_id"]
    assert message.task == sample["headers"].get("task", "")
    assert message.headers == sample["headers"]
    assert message.properties == sample["properties"]
    assert message.body == base64.b64decode(sample["body"])
    tag(sample)
    assert envelope.encode(outgoing(message, sample)) == raw_of(sample)


@pytest.mark.parametrize("name", SAMPLES["other_messages"])
def test_control_and_event_messages_are_decoded(name: str) -> None:
    sample = SAMPLES["other_messages"][name]
    message = envelope.decode(raw_of(sample))
    assert (message.id, message.task) == ("", "")
    assert message.body == base64.b64decode(sample["body"])


@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in UNREADABLE])
def test_every_recorded_json_body_is_read(name: str) -> None:
    sample = MESSAGES[name]
    call = task.read(envelope.decode(raw_of(sample)), JSON)
    assert call.id == sample["properties"]["correlation_id"]
    body = json.loads(base64.b64decode(sample["body"]))
    if isinstance(body, list) and name not in SAID:
        args, kwargs, embed = body
        assert (list(call.args), call.kwargs) == (args, kwargs)
        assert call[4:8] == tuple(embed.values())


def test_extended_types_are_restored() -> None:
    call = task.read(envelope.decode(raw_of(MESSAGES["v2_json_extended_types"])), JSON)
    assert call.args == (EXTENDED,)


def test_protocol_1_is_read_and_upgraded() -> None:
    message = envelope.decode(raw_of(MESSAGES["v1_simple"]))
    assert message.task == ""
    upgraded = task.upgrade(message, JSON)
    assert (upgraded.id, upgraded.task) == (message.id, "wapp.add")
    call = task.read(upgraded, JSON)
    assert call == task.read(message, JSON)
    assert call.args == (2, 2)
    assert task.time_limits(upgraded) == (None, None)
    assert task.check(upgraded).eta is None
    assert task.retries(upgraded) == 0


@pytest.mark.parametrize(("name", "error"), UNREADABLE.items())
def test_bodies_that_are_not_accepted_are_refused(name: str, error: type[Exception]) -> None:
    message = envelope.decode(raw_of(MESSAGES[name]))
    assert message.task == "wapp.add"
    with pytest.raises(error):
        task.read(message, JSON)


# What Celery was seen to do with minimal envelopes: A to D ran, E stopped the worker, F was lost
# without a result, G was REVOKED, H was lost.

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def minimal(payload: Any, task_id: str, *, content_type: str = "application/json", **fields: Any):
    text = json.dumps(payload)
    return {
        "body": base64.b64encode(text.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": {"id": task_id, "task": "wapp.add"},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": task_id,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
        },
        **fields,
    }


V1_BODY = {"task": "wapp.add", "id": "C", "args": [1, 2], "kwargs": {}}


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(minimal([[1, 2], {}, EMBED], "A"), id="A: id and task"),
        pytest.param(
            minimal([], "B", body=json.dumps([[1, 2], {}, {}]), properties={}), id="B: raw body"
        ),
        pytest.param(minimal(V1_BODY, "C", headers={}), id="C: protocol 1"),
        pytest.param(minimal(V1_BODY, "C"), id="hybrid"),
        pytest.param(minimal([[1, 2], {}, None], "D"), id="D: embed null"),
        pytest.param(
            minimal([[1, 2], {}, EMBED], "H", properties={"body_encoding": "base64"}),
            id="H: no tag",
        ),
    ],
)
def test_minimal_envelopes_are_read(sample: dict[str, Any]) -> None:
    call = task.read(envelope.decode(raw_of(sample)), JSON)
    assert (call.task, call.args, call.kwargs) == ("wapp.add", (1, 2), {})
    assert call[4:8] == (None, None, None, None)


def test_minimal_envelope_e_with_two_elements_is_refused_by_name() -> None:
    message = envelope.decode(raw_of(minimal([[1, 2], {}], "E")))
    with pytest.raises(InvalidTaskError, match="args, kwargs, embed"):
        task.read(message, JSON)
    assert message.id == "E"


def test_minimal_envelope_f_with_pickle_is_refused_before_decoding() -> None:
    sample = minimal([[1, 2], {}, None], "F", content_type="application/x-python-serialize")
    with pytest.raises(ContentDisallowed, match="accept_content"):
        task.read(envelope.decode(raw_of(sample)), JSON)


def test_minimal_envelope_g_tells_when_it_expired() -> None:
    sample = minimal([[1, 2], {}, None], "G")
    sample["headers"]["expires"] = "2020-01-01T00:00:00"
    assert task.check(envelope.decode(raw_of(sample))).expires == datetime(2020, 1, 1, tzinfo=UTC)
