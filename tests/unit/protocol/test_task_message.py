"""Task messages: what is built, retried, read and refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.error import DecodeError, EncodeError, InvalidTaskError
from celeriac.message import Message, Outgoing
from celeriac.protocol import envelope, task
from celeriac.serialization.registry import Serialization

JSON = Serialization()
SIGNATURE = {
    "task": "next",
    "args": [],
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}


def build(**fields: Any) -> Message:
    return task.build(task.Fields(**{"id": "1", "task": "t", **fields}), JSON)


def received(body: Any, **headers: Any) -> Message:
    text = json.dumps(body).encode()
    return Message("1", "t", text, headers={"id": "1", "task": "t", **headers})


# -- building ------------------------------------------------------------------------------


def test_what_is_built_is_read() -> None:
    message = build(
        args=(1, "a"), kwargs={"k": None}, callbacks=[SIGNATURE], chain=[SIGNATURE], chord=SIGNATURE
    )
    call = task.read(message, JSON)
    assert call == task.Call(
        "1",
        "t",
        (1, "a"),
        {"k": None},
        [SIGNATURE],
        None,
        [SIGNATURE],
        SIGNATURE,
        message.headers,
    )


def test_headers_of_the_user_come_last_and_may_replace() -> None:
    headers = build(headers={"shadow": "other", "x": 1}).headers
    assert headers["shadow"] == "other"
    assert list(headers)[-1] == "x"


def test_properties() -> None:
    message = build(reply_to="me", delivery_mode=1, expiration=1.5, properties={"user_id": "u"})
    assert message.properties == {
        "correlation_id": "1",
        "reply_to": "me",
        "user_id": "u",
        "delivery_mode": 1,
        "expiration": "1500",
    }


def test_the_root_is_the_task_itself_unless_told() -> None:
    assert build().headers["root_id"] == "1"
    assert build(root_id="0").headers["root_id"] == "0"


def test_the_repr_of_arguments_is_bounded_and_can_be_given() -> None:
    assert len(build(args=("x" * 5000,)).headers["argsrepr"]) <= 1027
    assert build(args=(1,), argsrepr="***").headers["argsrepr"] == "***"
    assert build(kwargs={"a": 1}).headers["kwargsrepr"] == "{'a': 1}"


def test_an_argument_that_cannot_be_written_is_named() -> None:
    with pytest.raises(EncodeError, match=r"^args\[1\]\['when'\] .*timedelta"):
        build(args=(0, {"when": timedelta(1)}))
    with pytest.raises(EncodeError, match=r"^kwargs\['who'\] .*set"):
        build(kwargs={"who": {1}})
    with pytest.raises(EncodeError, match=r"^embed\['callbacks'\]\[0\]\['args'\]\[0\] .*set"):
        build(callbacks=[{**SIGNATURE, "args": [{1}]}])


# -- retrying ------------------------------------------------------------------------------


def test_a_retry_keeps_everything_but_what_changes() -> None:
    first = build(args=(1,), parent_id="0", root_id="r", group_id="g", headers={"x": 1})
    raw = envelope.encode(Outgoing(first, "q"))
    arrived = envelope.decode(envelope.patch(raw, redelivered=True, deaths=1, losses=2))
    arrived.headers[task.HELD_UNTIL] = "2025-01-01T00:00:00+00:00"
    again = task.retry(arrived, JSON, retries=1, eta=datetime(2026, 1, 1, tzinfo=UTC))
    assert again.body == first.body
    assert again.properties == first.properties
    assert again.headers == {**first.headers, "retries": 1, "eta": "2026-01-01T00:00:00+00:00"}
    assert envelope.counts(again) == (False, 0, 0)


def test_a_retry_with_other_arguments_keeps_what_follows() -> None:
    first = build(args=(1,), kwargs={"a": 1}, callbacks=[SIGNATURE], chain=[SIGNATURE])
    again = task.retry(first, JSON, retries=1, args=(2,))
    call = task.read(again, JSON)
    assert (call.args, call.kwargs) == ((2,), {"a": 1})
    assert (call.callbacks, call.chain) == ([SIGNATURE], [SIGNATURE])
    assert again.headers["argsrepr"] == "(2,)"
    again = task.retry(first, JSON, retries=1, kwargs={"b": 2}, headers={"timelimit": [9, 8]})
    assert task.read(again, JSON).kwargs == {"b": 2}
    assert task.time_limits(again) == (9, 8)


def test_a_message_of_protocol_1_is_retried_in_protocol_2() -> None:
    body = {
        "task": "t",
        "id": "1",
        "args": [1],
        "kwargs": {},
        "retries": 1,
        "callbacks": [SIGNATURE],
    }
    first = Message("1", "", json.dumps(body).encode())
    again = task.retry(first, JSON, retries=2)
    call = task.read(again, JSON)
    assert (again.task, call.args, call.callbacks) == ("t", (1,), [SIGNATURE])
    assert task.retries(again) == 2


# -- reading -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([[], {}], "args, kwargs, embed"),
        ([[], {}, {}, {}], "args, kwargs, embed"),
        ([], "args, kwargs, embed"),
        (None, "not None"),
        (5, "not 5"),
        ("text", "not 'text'"),
        ({"kwargs": {}}, "without 'task' and 'args'"),
        ([{}, {}, {}], "args must be a list"),
        ([None, {}, {}], "args must be a list"),
        (["ab", {}, {}], "args must be a list"),
        ([[], [], {}], "kwargs must be an object"),
        ([[], None, {}], "kwargs must be an object"),
        ([[], {}, 5], "embed must be an object"),
        ([[], {}, [1]], "embed must be an object"),
        ([[], {}, {"callbacks": 5}], "callbacks"),
        ([[], {}, {"errbacks": ["x"]}], "errbacks"),
        ([[], {}, {"chain": [{"task": 5}]}], "chain"),
        ([[], {}, {"chord": "x"}], "chord"),
        ({"args": 5}, "args must be a list"),
        ({"args": [], "kwargs": []}, "kwargs must be an object"),
    ],
)
def test_a_body_that_is_no_task_is_refused_with_the_reason(body: Any, reason: str) -> None:
    with pytest.raises(InvalidTaskError, match=reason):
        task.read(received(body), JSON)


@pytest.mark.parametrize(
    "body",
    [
        {"args": [], "kwargs": {}},
        {"task": 5, "id": "1"},
        {"task": "t"},
        {"task": "t", "id": ["1"]},
        [[], {}, None],
    ],
)
def test_without_name_or_id_a_message_is_refused(body: Any) -> None:
    with pytest.raises(InvalidTaskError):
        task.read(Message("", "", json.dumps(body).encode()), JSON)


def test_one_signature_is_as_good_as_a_list_of_one() -> None:
    call = task.read(received([[], {}, {"callbacks": SIGNATURE, "chain": []}]), JSON)
    assert (call.callbacks, call.chain) == ([SIGNATURE], [])


def test_a_hybrid_is_read_with_its_headers_first() -> None:
    body = {"args": [1], "kwargs": {"a": 2}, "retries": 1, "eta": "x", "taskset": "g", "task": "no"}
    call = task.read(received(body, retries=3), JSON)
    assert (call.task, call.args, call.kwargs) == ("t", (1,), {"a": 2})
    assert (call.headers["retries"], call.headers["group"]) == (3, "g")


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(DecodeError, match="task_compression"):
        task.read(received([[], {}, {}], compression="application/x-gzip"), JSON)


def test_upgrading_leaves_protocol_2_alone() -> None:
    message = build()
    assert task.upgrade(message, JSON) is message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["task", "id", "args", "kwargs", "callbacks", "chain", "chord", "taskset"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES, st.sampled_from(["", "t"]), st.sampled_from(["", "1"]))
def test_arbitrary_bodies_raise_nothing_but_task_errors(body: Any, name: str, task_id: str) -> None:
    message = Message(task_id, name, json.dumps(body).encode())
    try:
        call = task.read(message, JSON)
    except InvalidTaskError:
        return
    assert call.id
    assert call.task


# -- headers -------------------------------------------------------------------------------

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T12:00:00+00:00",
        "2026-01-02T12:00:00Z",
        "2026-01-02T12:00:00",
        "2026-01-02 12:00:00.000000",
        "2026-01-02T17:30:00+05:30",
        "20260102T120000Z",
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=-3))),
    ],
)
def test_times_are_read_as_utc(text: Any) -> None:
    message = received([], eta=text, expires=text)
    assert task.check(message) == (NOON, NOON)
    assert task.check(message).eta.tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    ["", "soon", 5, 1e308, float("nan"), True, [], {}, "0001-01-01T00:00:00+14:00", "9999-13-01"],
)
def test_a_time_that_cannot_be_read_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTaskError, match="eta"):
        task.check(received([], eta=value))
    with pytest.raises(InvalidTaskError, match="expires"):
        task.check(received([], expires=value))


def test_missing_headers_have_defaults() -> None:
    for message in (
        received([]),
        received([], eta=None, expires=None, retries=None, timelimit=None),
    ):
        assert task.check(message).eta is None
        assert task.check(message).expires is None
        assert task.retries(message) == 0
        assert task.time_limits(message) == (None, None)


@pytest.mark.parametrize("value", [-1, True, "1", 1.5, [], 2**40])
def test_retries_that_are_no_count_are_refused(value: Any) -> None:
    with pytest.raises(InvalidTaskError, match="retries"):
        task.retries(received([], retries=value))


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ([10, 5], (10, 5)),
        ([None, 0.5], (None, 0.5)),
        ([0, 0], (None, None)),
        ([1e99, float("inf")], (1e9, 1e9)),
    ],
)
def test_time_limits(value: Any, limits: Any) -> None:
    message = received([], timelimit=value)
    assert task.time_limits(message) == limits
    assert task.time_limits(message).hard == limits[0]


@pytest.mark.parametrize(
    "value", [5, [1], [1, 2, 3], "ab", [1, "x"], [-1, 1], [float("nan"), 1], [True, 1]]
)
def test_time_limits_that_are_no_seconds_are_refused(value: Any) -> None:
    with pytest.raises(InvalidTaskError, match="limit"):
        task.time_limits(received([], timelimit=value))
