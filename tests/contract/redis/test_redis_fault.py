"""Lost replies, dead servers, wrong passwords, full memories."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from celeriac.error import (
    BrokerRefused,
    BrokerUnavailable,
    PublishRejected,
    PublishUnknown,
)
from celeriac.identifier import uuid
from celeriac.message import ResultRecord
from celeriac.store import open_store
from celeriac.store.base import StoreOptions
from celeriac.testing.contracts.process import Process, ack, ids, outgoing
from celeriac.testing.contracts.publish import Receiving
from celeriac.testing.deadline import eventually
from celeriac.testing.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.base import Broker
    from celeriac.testing.proxy import FaultProxy
    from celeriac.testing.server import RedisServer


def publish_once(broker: Broker) -> str:
    item = outgoing("q")
    broker.publish([item])
    return item.message.id


# -- publish -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [True, False])
def test_a_lost_reply_to_a_push_is_no_second_message(
    connect: Callable[..., Broker],
    start: Callable[..., Process],
    proxy: FaultProxy,
    far_url: str,
    cut: bool,
) -> None:
    far = connect(far_url, publish_timeout=2.0 if cut else 30.0, transport_options={})
    publish_once(far)
    proxy.drop_reply(b"LPUSH")
    item = outgoing("q")
    far.publish([item])
    assert proxy.dropped.is_set()
    near = start()
    assert ids(near.take(2))[1:] == ids([item])
    assert near.is_empty()


def test_a_lost_reply_is_found_with_the_worker_that_holds_the_message(
    connect: Callable[..., Broker], start: Callable[..., Process], proxy: FaultProxy, far_url: str
) -> None:
    far, near = connect(far_url), start()
    publish_once(far)
    near.settle(ack(near.take_one()))
    receiving = Receiving(near.consumer)
    proxy.drop_reply(b"LPUSH")
    item = outgoing("q")
    far.publish([item])
    assert ids(receiving.result()) == ids([item])
    assert near.is_empty()


def test_a_lost_reply_is_unknown_when_the_message_is_gone(
    connect: Callable[..., Broker], proxy: FaultProxy, far_url: str, client: redis.Redis, key: Any
) -> None:
    far = connect(far_url)
    publish_once(far)
    client.delete(key("q"))
    # Takes the message at once, as a Celery worker does, and is done with it.
    taker = threading.Thread(target=client.brpop, args=(key("q"), 20))
    taker.start()
    eventually(lambda: any(one["cmd"] == "brpop" for one in client.client_list()))
    proxy.drop_reply(b"LPUSH")
    with pytest.raises(PublishUnknown):
        publish_once(far)
    taker.join()
    assert client.llen(key("q")) == 0


@pytest.mark.parametrize("options", [{"priority": 9}, {"dedupe": True}])
def test_a_lost_reply_to_a_script_is_no_second_message(
    connect: Callable[..., Broker],
    start: Callable[..., Process],
    proxy: FaultProxy,
    far_url: str,
    options: dict[str, Any],
) -> None:
    far, near = connect(far_url), start()
    publish_once(far)
    near.settle(ack(near.take_one()))
    proxy.drop_reply(b"EVAL")
    item = outgoing("q", **options)
    far.publish([item])
    assert proxy.dropped.is_set()
    near.settle(ack(near.take_one()))
    assert near.is_empty()


def test_nobody_listens(connect: Callable[..., Broker]) -> None:
    broker = connect(f"redis://127.0.0.1:{free_port()}/0", publish_timeout=0.3)
    with pytest.raises(BrokerUnavailable):
        publish_once(broker)


def test_a_server_that_never_answers(
    connect: Callable[..., Broker], proxy: FaultProxy, far_url: str
) -> None:
    broker = connect(far_url, publish_timeout=0.5)
    publish_once(broker)
    proxy.blackhole("up", "down")
    with pytest.raises(PublishUnknown):
        publish_once(broker)


def test_a_restarted_server_is_found_again(
    private_redis: Callable[..., RedisServer], connect: Callable[..., Broker]
) -> None:
    server = private_redis(append_only=True)
    broker = connect(server.url)
    first = publish_once(broker)
    server.restart()
    second = publish_once(broker)
    process = Process(broker, "q")
    assert ids(process.take(2)) == [first, second]
    process.consumer.close()


# -- receive and settle ------------------------------------------------------------------------


def test_a_lost_lease_reply_loses_nothing(
    start: Callable[..., Process], broker: Broker, proxy: FaultProxy, far_url: str
) -> None:
    process = start(url=far_url)
    assert process.consumer.receive(1, 0.0) == []
    sent = [outgoing("q") for _ in range(3)]
    broker.publish(sent)
    proxy.drop_reply(b"celeriac:claim:")
    with pytest.raises(BrokerUnavailable):
        process.consumer.receive(3, 0.0)
    assert proxy.dropped.is_set()
    delivered = process.take(3)
    assert ids(delivered) == ids(sent)
    assert process.settle(*map(ack, delivered)) == [True] * 3


def test_a_lost_wake_up_loses_nothing(
    start: Callable[..., Process],
    broker: Broker,
    proxy: FaultProxy,
    far_url: str,
    client: redis.Redis,
) -> None:
    process = start(url=far_url)
    item = outgoing("q")

    def send() -> None:
        eventually(lambda: any(one["cmd"] == "blmove" for one in client.client_list()))
        broker.publish([item])

    proxy.drop_reply(b"BLMOVE")
    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(BrokerUnavailable):
        process.consumer.receive(1, 20.0)
    sender.join()
    assert ids(process.take(1)) == ids([item])


def test_nothing_is_taken_while_the_process_is_busy(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    busy, idle = start(), start()
    receiving = Receiving(busy.consumer)
    eventually(lambda: client.exists(key("celeriac:claim")))
    busy.broker.publish([outgoing("q", priority=9)])
    assert len(receiving.result()) == 1
    item = outgoing("q")
    busy.broker.publish([item])
    assert ids(idle.take(1)) == ids([item])


def test_a_claimed_message_of_a_killed_process_goes_back(
    start: Callable[..., Process], client: redis.Redis, key: Any
) -> None:
    dead, survivor = start(), start()
    item = outgoing("q")
    dead.broker.publish([item])
    # As its BLMOVE leaves it behind when the process is killed before it reads the reply.
    claim = f"celeriac:claim:{dead.id}:q"
    assert client.lmove(key("q"), key(claim), "RIGHT", "LEFT")
    client.zadd(key("celeriac:claim"), {f"{dead.id}:q": time.time()})
    assert survivor.is_empty()
    assert survivor.broker.adopt(dead.id, survivor.id) == []
    assert ids(survivor.take(1)) == ids([item])
    # And once more, after the owner was forgotten: its last wait may have outlived it.
    client.rpush(key(claim), b"late")
    survivor.broker.adopt_expired(survivor.id)
    assert client.llen(key(claim)) == 0
    assert client.llen(key("q")) == 1


def test_forgotten_scripts_are_loaded_again(
    start: Callable[..., Process], client: redis.Redis
) -> None:
    process = start()
    for _ in range(2):
        client.script_flush()
        process.broker.publish([outgoing("q", priority=3)])
        client.script_flush()
        delivery = process.take_one()
        client.script_flush()
        assert process.broker.renew(process.id, [delivery.receipt]) == []
        client.script_flush()
        assert process.settle(ack(delivery)) == [True]


def test_an_error_of_the_broker_restarts_the_two_observations(
    start: Callable[..., Process], proxy: FaultProxy, far_url: str
) -> None:
    short = {"lease_ttl": 0.1, "recovery_grace": 0.2}
    process, survivor = start(**short), start(url=far_url, **short)
    process.broker.publish([outgoing("q")])
    process.take_one()
    time.sleep(0.15)
    assert survivor.broker.adopt_expired(survivor.id) == []
    time.sleep(0.25)
    proxy.refuse()
    with pytest.raises(BrokerUnavailable):
        survivor.broker.adopt_expired(survivor.id)
    proxy.heal()
    assert survivor.broker.adopt_expired(survivor.id) == []
    assert eventually(lambda: survivor.broker.adopt_expired(survivor.id))


def test_a_full_server_refuses_messages_and_can_be_drained(
    private_redis: Callable[..., RedisServer], connect: Callable[..., Broker]
) -> None:
    server = private_redis()
    process = Process(connect(server.url), "q")
    process.broker.publish([outgoing("q") for _ in range(10)])
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        for item in (outgoing("q"), outgoing("q", priority=9)):
            with pytest.raises(PublishRejected, match="maxmemory"):
                process.broker.publish([item])
        delivered = process.take(10)
        assert process.broker.renew(process.id, [delivered[0].receipt]) == []
        result = ResultRecord(uuid(), "SUCCESS", b'{"status": "SUCCESS"}', 60.0)
        assert process.settle(*(ack(one, result=result) for one in delivered)) == [True] * 10
        assert client.exists("unacked") == 0
    process.consumer.close()


# -- who may come in ---------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["", ":wrong@", "someone:wrong@"])
def test_a_wrong_password_names_the_cure(
    private_redis: Callable[..., RedisServer], connect: Callable[..., Broker], login: str
) -> None:
    server = private_redis(password="right")
    broker = connect(f"redis://{login}127.0.0.1:{server.port}/0")
    for action in (lambda: publish_once(broker), broker.ping, broker.owners):
        with pytest.raises(BrokerRefused, match="password"):
            action()
    assert connect(server.url).ping().startswith("Redis")


def test_a_database_that_does_not_exist(connect: Callable[..., Broker], redis_url: str) -> None:
    broker = connect(redis_url.rpartition("/")[0] + "/999999")
    with pytest.raises(BrokerRefused, match="databases"):
        broker.ping()


def test_a_user_without_channels_and_client_rights_still_works(
    private_redis: Callable[..., RedisServer],
    connect: Callable[..., Broker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = private_redis()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command(
            *("ACL", "SETUSER", "poor", "on", ">secret", "~*", "resetchannels", "+@all"),
            *("-client|unblock", "-info"),
        )
    process = Process(connect(f"redis://poor:secret@127.0.0.1:{server.port}/0"), "q")
    receiving = Receiving(process.consumer)
    eventually(lambda: "channels" in caplog.text)
    first, second = outgoing("q", priority=9), outgoing("q")
    process.broker.publish([first])
    assert ids(receiving.result()) == ids([first])
    process.broker.publish([second])
    assert ids(process.take(1)) == ids([second])
    process.consumer.close()


# -- processes and loops -----------------------------------------------------------------------


def test_a_forked_child_has_connections_of_its_own(
    broker: Broker, start: Callable[..., Process]
) -> None:
    publish_once(broker)
    child = multiprocessing.get_context("fork").Process(target=publish_once, args=(broker,))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    publish_once(broker)
    assert len(start().take(3)) == 3


def test_connections_end_with_their_event_loop(
    broker: Broker, redis_url: str, redis_options: dict[str, Any], client: redis.Redis
) -> None:
    name = f"loop-{uuid()}"
    url = f"{redis_url}?client_name={name}"
    with open_store(url, StoreOptions(transport_options=redis_options)) as store:

        async def use() -> None:
            record = ResultRecord(uuid(), "SUCCESS", b'{"status": "SUCCESS"}', 60.0)
            async with store.awatch([record.id]) as watcher:
                await asyncio.to_thread(store.put, [record])
                assert await watcher.wait(20) == {record.id}
            assert await store.aget([record.id]) == {record.id: record.payload}

        for _ in range(2):
            asyncio.run(use())
            gc.collect()
    eventually(lambda: not [one for one in client.client_list() if one["name"] == name])


def test_a_publish_that_is_cancelled_leaves_no_half_read_connection(
    connect: Callable[..., Broker], proxy: FaultProxy, far_url: str, start: Callable[..., Process]
) -> None:
    far = connect(far_url)

    async def use() -> None:
        await far.apublish([outgoing("q")])
        proxy.blackhole("down")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(far.apublish([outgoing("q")]), 0.2)
        proxy.heal()
        await far.apublish([outgoing("q", priority=3)])

    asyncio.run(use())
    assert len(start().take(3)) == 3


def test_a_watcher_survives_a_cut(
    proxy: FaultProxy, far_url: str, redis_url: str, redis_options: dict[str, Any]
) -> None:
    options = StoreOptions(transport_options=redis_options)
    ids_ = [uuid(), uuid()]
    with open_store(far_url, options) as far, open_store(redis_url, options) as near:
        with far.watch(ids_) as watcher:
            proxy.cut()
            near.put([ResultRecord(ids_[0], "SUCCESS", b'{"status": "SUCCESS"}', 60.0)])
            assert watcher.wait(20) == set(ids_)
        with far.watch(ids_[1:]) as watcher:
            assert watcher.wait(0.01) == frozenset()
