"""Keys: kombu's where kombu has them, and nobody else's touched."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.error import BrokerRefused
from celeriac.identifier import uuid
from celeriac.protocol import envelope
from celeriac.testing.contracts.process import ack, ids, message, outgoing, release
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from celeriac.broker.base import Broker
    from celeriac.testing.contracts.process import Process


def foreign(queue: str, exchange: str = "", key: str | None = None) -> tuple[str, bytes]:
    """Return the id of a message and its entry as a Celery worker writes it."""
    item = outgoing(queue)
    parsed = json.loads(envelope.encode(item))
    return item.message.id, json.dumps([parsed, exchange, key or queue]).encode()


def test_a_queue_is_declared_as_kombu_does(broker: Broker, client: redis.Redis, key: Any) -> None:
    broker.publish([outgoing("q")])
    for name in ("_kombu.binding.q", "_kombu.binding_permanent.q"):
        assert client.smembers(key(name)) == {b"q\x06\x16\x06\x16q"}


def test_priorities_lie_in_kombus_lists(broker: Broker, client: redis.Redis, key: Any) -> None:
    broker.publish([outgoing("q", priority=level) for level in (0, 2, 3, 5, 6, 9)])
    lengths = [client.llen(key(name)) for name in ("q", "q\x06\x163", "q\x06\x166", "q\x06\x169")]
    assert lengths == [2, 2, 1, 1]


def test_a_lease_is_an_entry_that_kombu_can_restore(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start()
    item = outgoing("q")
    process.broker.publish([item])
    delivery = process.take_one()
    ((tag, value),) = client.hgetall(key("unacked")).items()
    assert tag.decode() == delivery.receipt
    parsed, exchange, routing_key = json.loads(value)
    assert parsed == json.loads(delivery.raw)
    assert (exchange, routing_key) == ("", "q")
    seen = client.zscore(key("unacked_index"), tag)
    assert seen == pytest.approx(time.time(), abs=60)
    assert process.settle(ack(delivery)) == [True]
    assert not client.exists(key("unacked"), key("unacked_index"), key("celeriac:lease"))


def test_what_kombu_has_restored_is_lost_to_us(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start()
    process.broker.publish([outgoing("q")])
    delivery = process.take_one()
    client.hdel(key("unacked"), delivery.receipt)
    client.zrem(key("unacked_index"), delivery.receipt)
    client.rpush(key("q"), delivery.raw)
    assert process.broker.renew(process.id, [delivery.receipt]) == [delivery.receipt]
    assert process.settle(ack(delivery, outgoing("q"))) == [False]
    assert ids(process.take(1)) == ids([delivery])
    assert process.is_empty()


def test_renewing_keeps_celery_workers_away(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start()
    process.broker.publish([outgoing("q")])
    delivery = process.take_one()
    client.zadd(key("unacked_index"), {delivery.receipt: 1.0})
    process.broker.renew(process.id, [delivery.receipt])
    assert client.zscore(key("unacked_index"), delivery.receipt) > 1.0


def test_what_has_started_is_hidden_from_celery_workers(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start()
    process.broker.publish([outgoing("q")])
    delivery = process.take_one()
    process.broker.mark_started([delivery.receipt])
    process.broker.renew(process.id, [delivery.receipt])
    assert client.zcard(key("unacked_index")) == 0
    assert process.settle(ack(delivery)) == [True]
    assert not client.exists(key("unacked"), key("celeriac:started"))


def test_nothing_stays_behind(start: Callable[..., Process], client: redis.Redis, key: Any) -> None:
    process = start()
    process.broker.publish([outgoing("q", priority=3), outgoing("q", due=time.time() + 0.05)])
    assert process.settle(*map(ack, process.take(2))) == [True, True]
    process.consumer.close()
    process.broker.unregister(process.id)
    left = {name.decode().removeprefix(key("")) for name in client.scan_iter(key("*"))}
    lasting = {"_kombu.binding.q", "_kombu.binding_permanent.q", "celeriac:claim"}
    assert {name for name in left if not name.startswith("celeriac:sent:")} <= lasting


def test_a_delayed_message_goes_straight_to_the_list_while_we_have_no_worker(
    broker: Broker, client: redis.Redis, key: Any
) -> None:
    broker.publish([outgoing("q", due=time.time() + 3600)])
    assert client.llen(key("q")) == 1
    assert not client.exists(key("celeriac:eta"))


def test_a_worker_that_was_killed_holds_no_delayed_messages_back(
    broker: Broker, client: redis.Redis, key: Any
) -> None:
    """Its entry stays, but nobody would promote them: a Celery worker has to see them."""
    client.zadd(key("celeriac:alive"), {"gone.1": (time.time() - 120) * 1000})
    broker.publish([outgoing("q", due=time.time() + 3600)])
    assert client.llen(key("q")) == 1
    client.zadd(key("celeriac:alive"), {"here.1": time.time() * 1000})
    broker.publish([outgoing("q", due=time.time() + 3600)])
    assert client.llen(key("q")) == 1
    assert client.zcard(key("celeriac:eta")) == 1


# -- recovery of what Celery workers held ------------------------------------------------------


@pytest.fixture
def survivor(start: Callable[..., Process]) -> Process:
    return start(recovery_grace=0.1, transport_options={"visibility_timeout": 60})


def patrol(process: Process, client: redis.Redis, index: str) -> None:
    """Look for the expired until nobody is in the index any more."""

    def empty() -> bool:
        assert process.broker.adopt_expired(process.id) == []
        return client.zcard(index) == 0

    eventually(empty)


def test_a_foreign_entry_is_restored(survivor: Process, client: redis.Redis, key: Any) -> None:
    id_, value = foreign("q")
    tag = uuid()
    client.hset(key("unacked"), tag, value)
    client.zadd(key("unacked_index"), {tag: time.time() - 61})
    patrol(survivor, client, key("unacked_index"))
    delivery = survivor.take_one()
    assert ids([delivery]) == [id_]
    assert delivery.redelivered
    assert client.hlen(key("unacked")) == 1


def test_a_foreign_entry_finds_its_queue_by_the_binding(
    survivor: Process, client: redis.Redis, key: Any
) -> None:
    id_, value = foreign("q", "orders", "orders.new")
    client.sadd(key("_kombu.binding.orders"), "orders.new\x06\x16\x06\x16q")
    client.hset(key("unacked"), "tag", value)
    client.zadd(key("unacked_index"), {"tag": 1.0})
    patrol(survivor, client, key("unacked_index"))
    assert ids(survivor.take(1)) == [id_]


def test_a_young_foreign_entry_is_left_alone(
    survivor: Process, client: redis.Redis, key: Any
) -> None:
    _, value = foreign("q")
    client.hset(key("unacked"), "tag", value)
    client.zadd(key("unacked_index"), {"tag": time.time() - 30, "gone": 1.0})

    def only_the_young() -> bool:
        assert survivor.broker.adopt_expired(survivor.id) == []
        return client.zrange(key("unacked_index"), 0, -1) == [b"tag"]

    eventually(only_the_young)
    assert client.hexists(key("unacked"), "tag")


@pytest.mark.parametrize("value", [b"", b"nonsense", b"[1, 2]", b'[{}, "", "q"]', b"[[], 1, 2]"])
def test_the_malformed_does_not_stop_recovery(
    survivor: Process, client: redis.Redis, key: Any, value: bytes
) -> None:
    id_, good = foreign("q")
    client.hset(key("unacked"), mapping={"bad": value, "good": good})
    client.zadd(key("unacked_index"), {"bad": 1.0, "good": 2.0})
    patrol(survivor, client, key("unacked_index"))
    assert client.lrange(key("celeriac:malformed"), 0, -1) == [value]
    assert ids(survivor.take(1)) == [id_]


def test_an_owner_is_not_taken_for_one_with_a_longer_name(broker: Broker) -> None:
    broker.publish([outgoing("q"), outgoing("q")])
    for owner in ("a", "a.b"):
        consumer = broker.consumer(["q"], owner)
        assert len(consumer.receive(1, 1.0)) == 1
        consumer.close()
    assert len(broker.adopt("a", "c")) == 1
    assert len(broker.adopt("a.b", "c")) == 1


# -- neighbours --------------------------------------------------------------------------------


def test_foreign_entries_of_other_queues_are_left_alone(
    survivor: Process, client: redis.Redis, key: Any
) -> None:
    _, theirs = foreign("theirs")
    id_, ours = foreign("q")
    client.hset(key("unacked"), mapping={"theirs": theirs, "ours": ours})
    client.zadd(key("unacked_index"), {"theirs": 1.0, "ours": 2.0})

    def restored() -> bool:
        survivor.broker.adopt_expired(survivor.id)
        return client.zrange(key("unacked_index"), 0, -1) == [b"theirs"]

    eventually(restored)
    assert ids(survivor.take(1)) == [id_]


def test_leases_of_other_queues_are_left_alone(start: Callable[..., Process]) -> None:
    short = {"lease_ttl": 0.2, "recovery_grace": 0.1}
    theirs, ours, survivor = start("theirs", **short), start("q", **short), start("q", **short)
    theirs.broker.publish([outgoing("theirs"), outgoing("q")])
    held, expected = theirs.take_one(), ours.take_one()
    adopted = eventually(lambda: survivor.broker.adopt_expired(survivor.id))
    assert ids(adopted) == ids([expected])
    assert theirs.settle(ack(held)) == [True]


def test_prefixes_keep_applications_apart(start: Callable[..., Process]) -> None:
    one, other = (
        start("q", transport_options={"global_keyprefix": f"{uuid()}:"}) for _ in range(2)
    )
    one.broker.publish([outgoing("q")])
    assert other.is_empty()
    assert [owner.id for owner in other.broker.owners()] == [other.id]
    delivery = one.take_one()
    assert other.settle(release(delivery)) == [False]
    assert one.settle(ack(delivery)) == [True]


# -- keys that hold something else -------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"priority": 9}, {"dedupe": True}])
def test_a_queue_that_is_no_list_is_refused(
    broker: Broker, client: redis.Redis, key: Any, options: dict[str, Any]
) -> None:
    for name in ("q", "q\x06\x169"):
        client.set(key(name), "mine")
    with pytest.raises(BrokerRefused, match="global_keyprefix"):
        broker.publish([outgoing("q", **options)])


def test_a_queue_that_is_no_list_does_not_stop_the_others(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start("bad", "q")
    client.set(key("bad"), "mine")
    with pytest.raises(BrokerRefused):
        process.consumer.receive(5, 0.0)
    sent = [outgoing("q") for _ in range(3)]
    process.broker.publish(sent)
    assert ids(process.take(3)) == ids(sent)


def test_a_due_message_whose_list_is_taken_is_kept(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start("q", "r")
    process.broker.publish([outgoing("r", due=time.time() + 0.05), outgoing("q")])
    client.set(key("r"), "mine")
    process.take_one()

    def moved() -> bool:
        process.broker.publish([outgoing("q")])
        process.take_one()
        return client.llen(key("celeriac:malformed")) == 1

    eventually(moved)


def test_a_settle_with_an_impossible_follow_up_changes_nothing(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    process = start()
    client.set(key("bad"), "mine")
    process.broker.publish([outgoing("q")])
    delivery = process.take_one()
    with pytest.raises(BrokerRefused):
        process.settle(ack(delivery, outgoing("q"), outgoing("bad")))
    assert client.llen(key("q")) == 0
    assert process.settle(ack(delivery)) == [True]


def test_retries_are_told_apart_by_dedupe(broker: Broker, client: redis.Redis, key: Any) -> None:
    first = message()
    for retries in (0, 0, 1):
        again = message(id=first.id, retries=retries)
        broker.publish([outgoing("q", message=again, dedupe=True)])
    assert client.llen(key("q")) == 2
    assert 3500 < client.ttl(key(f"celeriac:once:{first.id}:0")) <= 3600
