"""Plans, played through without a server."""

from __future__ import annotations

import json
import select
import socket
from typing import Any

import pytest

from celeriac.broker.base import BrokerOptions
from celeriac.broker.redis import catalog, entry
from celeriac.broker.redis.recovery import Sightings
from celeriac.broker.redis.sending import Sender
from celeriac.broker.redis.settlement import MOST, Settler
from celeriac.engine.redis import fault
from celeriac.engine.redis.address import parse
from celeriac.engine.redis.fault import Fault, Kind
from celeriac.engine.redis.layout import Layout
from celeriac.engine.redis.poll import Poll
from celeriac.engine.redis.script import Call
from celeriac.error import BrokerRefused, BrokerUnavailable, PublishRejected, PublishUnknown
from celeriac.message import Completion, Delivery
from celeriac.testing.contracts.process import message, outgoing

LAYOUT = Layout(parse("redis://h", {}))


def sender(**options: Any) -> Sender:
    made = Sender(LAYOUT, BrokerOptions(**options))
    made._declared |= {"q", "r"}
    return made


def finish(plan: Any, replies: list[Any]) -> Any:
    with pytest.raises(StopIteration) as done:
        plan.send(replies)
    return done.value.value


# -- publish -----------------------------------------------------------------------------------


def test_one_message_is_one_push() -> None:
    plan = sender().publish([outgoing("q")])
    ((verb, key, raw),) = next(plan)
    assert (verb, key) == ("LPUSH", "q")
    assert json.loads(raw)["properties"]["delivery_info"]["routing_key"] == "q"
    finish(plan, [1])


def test_a_batch_for_one_list_is_one_push() -> None:
    ((verb, key, *raws),) = next(sender().publish([outgoing("q") for _ in range(5)]))
    assert (verb, key, len(raws)) == ("LPUSH", "q", 5)


@pytest.mark.parametrize(
    "batch",
    [
        [outgoing("q", priority=5)],
        [outgoing("q", due=1.0)],
        [outgoing("q", dedupe=True)],
        [outgoing("q"), outgoing("r")],
    ],
)
def test_everything_else_is_one_script(batch: list[Any]) -> None:
    (command,) = next(sender().publish(batch))
    assert isinstance(command, Call)
    assert command.script is catalog.PUBLISH


def test_a_queue_is_declared_once_before_its_first_message() -> None:
    fresh = Sender(LAYOUT, BrokerOptions())
    plan = fresh.publish([outgoing("q")])
    assert [(verb, key) for verb, key, _ in next(plan)] == [
        ("SADD", "_kombu.binding.q"),
        ("SADD", "_kombu.binding_permanent.q"),
    ]
    assert plan.send([1, 1])[0][0] == "LPUSH"
    assert next(fresh.publish([outgoing("q")]))[0][0] == "LPUSH"


def test_what_certainly_did_not_leave_is_for_the_caller_to_send_again() -> None:
    plan = sender().publish([outgoing("q")])
    next(plan)
    with pytest.raises(BrokerUnavailable, match="refused"):
        plan.throw(Fault("refused"))


def test_in_doubt_a_script_is_sent_again_since_its_mark_makes_it_once() -> None:
    plan = sender().publish([outgoing("q", dedupe=True)])
    first = next(plan)
    assert 0 < plan.throw(Fault("cut", doubtful=True)) < 1
    assert plan.send([]) == first
    finish(plan, [1])


def test_in_doubt_a_plain_message_is_looked_for() -> None:
    plan = sender().publish([outgoing("q")])
    ((_, _, raw),) = next(plan)
    plan.throw(Fault("cut", doubtful=True))
    (search,) = plan.send([])
    assert search.script is catalog.SEEK
    assert search.arguments == [raw]
    finish(plan, [1])


def test_what_is_not_found_is_unknown() -> None:
    plan = sender().publish([outgoing("q")])
    next(plan)
    plan.throw(Fault("cut", doubtful=True))
    plan.send([])
    with pytest.raises(PublishUnknown):
        plan.send([0])


def test_in_doubt_a_script_is_repeated_with_its_mark() -> None:
    plan = sender().publish([outgoing("q", priority=9)])
    first = next(plan)
    plan.throw(Fault("cut", doubtful=True))
    assert plan.send([]) == first
    finish(plan, [0])


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ([Fault("down")], BrokerUnavailable),
        ([Fault("full", Kind.FULL)], PublishRejected),
        ([Fault("password", Kind.REFUSED)], BrokerRefused),
        ([Fault("cut", doubtful=True)], PublishUnknown),
    ],
)
def test_how_it_ends_when_time_is_up(faults: list[Fault], error: type[Exception]) -> None:
    plan = sender(publish_timeout=0.0).publish([outgoing("q")])
    next(plan)
    with pytest.raises(error):
        plan.throw(faults[0])


def test_doubt_outlives_later_certainties() -> None:
    plan = sender(publish_timeout=0.15).publish([outgoing("q")])
    next(plan)
    plan.throw(Fault("cut", doubtful=True))
    plan.send([])
    with pytest.raises(PublishUnknown):
        plan.throw(Fault("full", Kind.FULL))


def test_too_large_is_refused_before_anything_is_sent() -> None:
    plan = sender(max_message_bytes=100).publish([outgoing("q")])
    with pytest.raises(PublishRejected, match="max_message_bytes"):
        next(plan)


# -- settle ------------------------------------------------------------------------------------


def delivery(raw: bytes = b"{}", number: int = 0) -> Delivery:
    return Delivery(f"o.s.{number}", "q", message(), raw)


def test_many_completions_are_several_scripts() -> None:
    batch = [Completion(delivery(number=i)) for i in range(MOST + 1)]
    plan = Settler(LAYOUT, BrokerOptions()).settle(batch)
    (first,) = next(plan)
    (second,) = plan.send([[1] * MOST])
    assert [len(call.arguments) for call in (first, second)] == [1 + 4 * MOST, 1 + 4]
    assert finish(plan, [[0]]) == [True] * MOST + [False]


def test_large_completions_are_several_scripts() -> None:
    big = [outgoing("q", message=message(args=["x" * 1_000_000])) for _ in range(6)]
    batch = [Completion(delivery(number=i), publish=[item]) for i, item in enumerate(big)]
    calls = list(Settler(LAYOUT, BrokerOptions())._calls(batch))
    assert len(calls) > 1
    assert all(call.keys[10:] == ["q"] for call in calls)


def test_a_release_without_news_keeps_every_byte() -> None:
    raw = b'{"body": "", "headers": {"id": "x"}, "properties": {}, "odd":1}'
    held = entry.delivery("t", "q", raw, 1000)
    assert entry.marked(held, 0, 0) is raw
    assert b'"x-celeriac-deaths": 1' in entry.marked(held, 1, 0)


def test_a_release_of_the_unreadable_keeps_every_byte() -> None:
    held = entry.delivery("t", "q", b"\x00", 1000)
    assert held.problem
    assert entry.marked(held, 3, 3) == b"\x00"


@pytest.mark.parametrize("queue", ["q", 'a,"","b', "é"])
def test_entries_are_taken_apart_as_they_were_put_together(queue: str) -> None:
    raw = b'{"a": ["",""]}'
    assert entry.split(b"[" + raw + LAYOUT.suffix(queue).encode()) == (raw, queue)


# -- recovery ----------------------------------------------------------------------------------


def test_one_look_is_not_enough() -> None:
    sightings = Sightings(0.0)
    assert sightings.ripe({"a": "1"}) == []
    assert sightings.ripe({"a": "1"}) == [("a", "1")]


def test_a_change_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from celeriac.broker.redis import recovery
    from celeriac.clock import ManualClock

    clock = ManualClock()
    monkeypatch.setattr(recovery, "SYSTEM", clock)
    sightings = Sightings(10.0)
    sightings.ripe({"a": "1", "b": "1", "c": "1"})
    clock.advance(9)
    sightings.ripe({"a": "1", "b": "2"})
    clock.advance(1)
    assert sightings.ripe({"a": "1", "b": "2", "c": "1"}) == [("a", "1")]
    sightings.forget()
    clock.advance(100)
    assert sightings.ripe({"a": "1"}) == []


# -- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind", "cure"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", Kind.FULL, "maxmemory"),
        ("MISCONF Redis is configured to save RDB snapshots", Kind.FULL, "disk"),
        ("READONLY You can't write against a read only replica.", Kind.UNAVAILABLE, "master"),
        ("LOADING Redis is loading the dataset in memory", Kind.UNAVAILABLE, "loading"),
        ("NOAUTH Authentication required.", Kind.REFUSED, "password"),
        ("NOPERM User x has no permissions", Kind.REFUSED, "ACL"),
        ("WRONGTYPE Operation against a key", Kind.REFUSED, "global_keyprefix"),
        ("MOVED 3999 127.0.0.1:6381", Kind.REFUSED, "Cluster"),
        ("ERR max number of clients reached", Kind.UNAVAILABLE, "maxclients"),
        ("ERR DB index is out of range", Kind.REFUSED, "databases"),
        ("ERR something else", Kind.REFUSED, "something else"),
    ],
)
def test_replies_become_faults_with_a_cure(reply: str, kind: Kind, cure: str) -> None:
    found = fault.from_reply(reply)
    assert found.kind is kind
    assert not found.doubtful
    assert cure in found.text


def test_scripts_that_drain_say_so_where_the_server_understands() -> None:
    assert catalog.LEASE.source(True).text.startswith(b"#!lua flags=allow-oom\n")
    assert not catalog.LEASE.source(False).text.startswith(b"#!")
    assert catalog.PUBLISH.source(True) == catalog.PUBLISH.source(False)


# -- waiting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_poll", [True, False])
def test_waiting_for_sockets(monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    if not has_poll:
        monkeypatch.delattr(select, "poll")
    one, other = socket.socketpair()
    with one, other:
        poll = Poll(one.fileno())
        assert poll.wait(0) == set()
        other.send(b"x")
        assert poll.wait(20) == {one.fileno()}
        assert Poll(one.fileno(), write=True).wait(20) == {one.fileno()}
