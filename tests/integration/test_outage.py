"""Redis goes away in every way it can; what was accepted is run, and run once."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
import redis

from celeriac import state
from celeriac.broker.redis import catalog
from celeriac.error import BrokerUnavailable, OperationalError, PublishUnknown, StoreUnavailable
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import VARIABLE, Kind, note
from celeriac.testing.proxy import FaultProxy


@pytest.fixture
def server(private_redis):
    """A Redis that keeps what it has accepted when it is killed."""
    return private_redis(append_only=True)


@pytest.fixture
def site(server, new_site):
    """A place on that Redis."""
    return new_site(server.url)


@pytest.fixture
def proxy(server):
    """A wire to that Redis that can be hurt."""
    with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def admin(server):
    """A plain client of that Redis."""
    client = redis.Redis(port=server.port)
    yield client
    client.close()


@pytest.fixture
def sender(server, proxy, new_site):
    """A place whose senders, not its workers, are on the wire that can be hurt."""
    site = new_site(proxy.url(server.url))
    site.route_workers(server.url)
    return site


def ran_once(site, results):
    """Each of these has begun once and succeeded; nothing is left over."""
    eventually(lambda: all(one.state == state.SUCCESS for one in results), timeout=60)
    counts = site.ledger.counts(Kind.START)
    assert {key: count for key, count in counts.items() if count != 1} == {}
    assert set(counts) == {one.id for one in results}
    eventually(lambda: site.depth() == (0, 0, 0), timeout=30)


def is_running(site, result):
    return bool(site.ledger.counts(Kind.START)[result.id])


# -- the server goes and comes back --------------------------------------------------------


def test_a_worker_waits_for_a_broker_that_is_not_there_yet(site, server):
    server.stop()
    worker = site.worker("-c", "1", wait=False)
    eventually(lambda: "Trying again in" in worker.output(), timeout=30)
    assert f"redis://127.0.0.1:{server.port}/0" in worker.output()
    assert "Traceback" not in worker.output()
    server.start()
    eventually(lambda: "ready in" in worker.output(), timeout=30)
    assert site.subject.add.delay(1, 2).get(timeout=30) == 3


def test_a_worker_that_waits_for_the_broker_can_be_stopped(site, server):
    server.stop()
    worker = site.worker("-c", "1", wait=False)
    eventually(lambda: "Trying again in" in worker.output(), timeout=30)
    assert worker.stop() == 0


def test_a_killed_redis_costs_nothing(site, server, tmp_path, monkeypatch):
    """Killed and started again twice, with 200 tasks on their way; running ones go on running."""
    monkeypatch.setenv(VARIABLE, str(site.directory))
    worker = site.worker("-c", "4")
    gate = site.subject.gate.delay(str(tmp_path / "gate"))
    eventually(lambda: is_running(site, gate))
    results, sender = [gate], threading.Thread(target=lambda: results.extend(send(site, 200)))
    sender.start()
    for ended in (30, 90):
        eventually(lambda ended=ended: len(site.ledger.counts(Kind.END)) >= ended, timeout=60)
        server.kill()
        eventually(lambda: "Lost the broker" in worker.output(), timeout=30)
        server.start()
    sender.join()
    (tmp_path / "gate").touch()
    ran_once(site, results)
    assert site.ledger.problems() == []
    assert len(worker.children()) == 4
    assert worker.stop() == 0


def send(site, count):
    """Send tasks as a patient client does; return those that were accepted."""
    results = []
    while len(results) < count:
        try:
            results.append(site.subject.nap.delay(0.02))
        except BrokerUnavailable:
            continue
        note(Kind.ACCEPT, results[-1].id)
    return results


def test_connections_that_the_server_closes_cost_nothing(site, admin):
    worker = site.worker("-c", "4")
    results = [site.subject.nap.delay(0.05) for _ in range(200)]
    for ended in (20, 60, 100, 140):
        eventually(lambda ended=ended: len(site.ledger.counts(Kind.END)) >= ended, timeout=60)
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal")
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    ran_once(site, results)
    assert len(worker.children()) == 4
    assert worker.stop() == 0


def test_a_server_that_pauses_costs_nothing(site, admin):
    worker = site.worker("-c", "4")
    results = [site.subject.nap.delay(0.05) for _ in range(100)]
    eventually(lambda: len(site.ledger.counts(Kind.END)) >= 20, timeout=60)
    admin.execute_command("CLIENT", "PAUSE", 3000)
    results.append(site.subject.add.delay(1, 2))
    ran_once(site, results)
    assert worker.stop() == 0


def test_a_locked_database_costs_nothing(new_site, tmp_path):
    site = new_site(f"sqlite:///{tmp_path}/queue.db")
    worker = site.worker("-c", "2")
    result = site.subject.gate.delay(str(tmp_path / "gate"))
    eventually(lambda: is_running(site, result))
    with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        (tmp_path / "gate").touch()
        eventually(lambda: site.ledger.counts(Kind.END)[result.id])
        assert result.state == state.PENDING
        other.execute("ROLLBACK")
    ran_once(site, [result])
    assert worker.stop() == 0


# -- replies lost on the wire --------------------------------------------------------------


def digest(admin, script):
    flags = int(admin.info("server")["redis_version"].partition(".")[0]) >= 7
    return script.source(flags).digest.encode()


def blocked(admin):
    return [one for one in admin.client_list() if one["cmd"] == "blmove" and "b" in one["flags"]]


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "silent"])
@pytest.mark.parametrize("lost", ["BLMOVE", "LEASE", "SETTLE"])
def test_a_reply_that_the_worker_never_gets(site, proxy, admin, lost, cut):
    site.route_workers(proxy.url(site.url))
    results = []
    if lost == "BLMOVE":
        proxy.drop_reply(b"BLMOVE", cut=cut)
        site.worker("-c", "1")
        eventually(lambda: blocked(admin))
    else:
        site.worker("-c", "1")
        # The scripts are loaded now: the next call by their digest is carried out.
        results.append(site.subject.add.delay(1, 1))
        assert results[0].get(timeout=30) == 2
        eventually(lambda: blocked(admin))
        proxy.drop_reply(digest(admin, getattr(catalog, lost)), cut=cut)
    results.append(site.subject.add.delay(2, 2))
    assert proxy.dropped.wait(30)
    results.append(site.subject.add.delay(3, 3))
    ran_once(site, results)


def test_a_half_open_wire_costs_nothing(site, proxy, admin):
    site.route_workers(proxy.url(site.url))
    site.worker("-c", "1")
    eventually(lambda: blocked(admin))
    proxy.blackhole()
    results = [site.subject.add.delay(number, 1) for number in range(20)]
    eventually(lambda: not blocked(admin), timeout=30)
    proxy.cut()
    proxy.heal()
    ran_once(site, results)


def test_what_a_half_open_wire_swallowed_is_run_by_another_worker(site, proxy, admin):
    site.configure(lease_ttl=2, lease_heartbeat=0.5, recovery_grace=1)
    site.route_workers(proxy.url(site.url))
    cut_off = site.worker("-c", "1")
    eventually(lambda: blocked(admin))
    proxy.blackhole()
    result = site.subject.add.delay(1, 1)
    site.route_workers(site.url)
    site.worker("-c", "1")
    assert result.get(timeout=60) == 2
    proxy.cut()
    proxy.heal()
    eventually(lambda: "The broker is back" in cut_off.output(), timeout=60)
    ran_once(site, [result])


# -- senders and readers -------------------------------------------------------------------


@pytest.mark.parametrize("priority", [0, 5], ids=["plain", "script"])
def test_a_send_whose_reply_was_lost_is_accepted_once(sender, proxy, admin, priority):
    site = sender
    first = site.subject.add.apply_async((1, 1), priority=priority)
    proxy.drop_reply(b"LPUSH" if priority == 0 else digest(admin, catalog.PUBLISH))
    second = site.subject.add.apply_async((2, 2), priority=priority)
    assert proxy.dropped.wait(30)
    assert site.depth() == (2, 0, 0)
    site.worker("-c", "1")
    ran_once(site, [first, second])


@contextmanager
def lost_reply(proxy, what, until=None):
    """Lose the reply to a request; let nobody through ``until`` something, or the block ends."""
    over = threading.Event()

    def cut_off():
        assert proxy.dropped.wait(30)
        proxy.refuse()
        eventually(until or over.is_set)
        proxy.heal()

    proxy.drop_reply(what, cut=False)
    thread = threading.Thread(target=cut_off)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("priority", [0, 5], ids=["plain", "script"])
def test_a_send_in_doubt_says_so(sender, proxy, admin, priority):
    sender.configure(publish_timeout=1)
    add = sender.subject.add
    add.apply_async((1, 1), priority=priority)  # loads the script
    what = b"LPUSH" if priority == 0 else digest(admin, catalog.PUBLISH)
    with lost_reply(proxy, what), pytest.raises(PublishUnknown, match=r"add\[in-doubt\]"):
        add.apply_async((2, 2), task_id="in-doubt", priority=priority)
    assert sender.depth() == (2, 0, 0)


def test_a_send_in_doubt_can_be_repeated(sender, proxy):
    sender.configure(publish_timeout=1)
    add = sender.subject.add
    with lost_reply(proxy, b"LPUSH"), pytest.raises(OperationalError):
        add.apply_async((2, 2), task_id="in-doubt")
    result = add.apply_async((2, 2), task_id="in-doubt")
    sender.worker("-c", "1")
    ran_once(sender, [result])


def test_a_send_in_doubt_is_not_repeated_behind_the_senders_back(sender, proxy, admin):
    """The task is done, and has left no trace, when the sender can ask about it."""
    sender.worker("-c", "1")
    silent, runs = sender.subject.silent, sender.ledger
    silent.delay()
    eventually(lambda: runs.counts(Kind.END).total() == 1)

    def done():
        return runs.counts(Kind.END).total() == 2 and not admin.exists("celery", "unacked")

    with lost_reply(proxy, b"LPUSH", done), suppress(PublishUnknown):
        silent.apply_async(task_id="in-doubt")
    after = sender.subject.add.delay(1, 2)
    assert after.get(timeout=30) == 3
    assert runs.counts(Kind.START)["in-doubt"] == 1


def test_a_sender_is_told_that_the_broker_is_down(private_redis, new_site):
    server = private_redis(password="secret")
    site = new_site(server.url)
    site.configure(publish_timeout=2)
    server.stop()
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable) as caught:
        site.subject.add.delay(1, 2)
    assert time.monotonic() - begun < 10
    text = str(caught.value)
    assert f"redis://:**@127.0.0.1:{server.port}/0" in text
    assert text.endswith("; start it, or correct broker_url")
    assert "secret" not in text


def test_a_reader_is_told_that_the_store_is_down(site, server):
    result = site.subject.add.delay(1, 2)
    assert result.state == state.PENDING
    server.kill()
    for read in (lambda: result.state, lambda: result.get(timeout=1), result.ready):
        with pytest.raises(StoreUnavailable) as caught:
            read()
        assert f"127.0.0.1:{server.port}" in str(caught.value)


def test_a_waiting_reader_survives_the_end_of_its_connection(site, admin):
    result = site.subject.nap.delay(0.5)
    waited = []
    reader = threading.Thread(target=lambda: waited.append(result.get(timeout=60)))
    reader.start()
    eventually(lambda: any(one["cmd"] == "subscribe" for one in admin.client_list()))
    admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    site.worker("-c", "1")
    reader.join()
    assert waited == [0.5]


# -- the end of a worker during an outage --------------------------------------------------


def test_an_idle_worker_stops_during_an_outage(site, server):
    worker = site.worker("-c", "2")
    server.kill()
    eventually(lambda: "Lost the broker" in worker.output(), timeout=30)
    assert worker.stop() == 0


def test_what_cannot_be_acknowledged_is_not_lost_by_a_stop(site, server, tmp_path):
    worker = site.worker("-c", "1")
    result = site.subject.gate.delay(str(tmp_path / "gate"))
    eventually(lambda: is_running(site, result))
    server.kill()
    (tmp_path / "gate").touch()
    eventually(lambda: "Cannot settle now" in worker.output(), timeout=30)
    worker.signal(signal.SIGTERM)
    eventually(lambda: "Stopping" in worker.output())
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(30) == 1
    server.start()
    site.worker("-c", "1")
    assert result.get(timeout=60) == "open"
    assert site.ledger.counts(Kind.START)[result.id] == 2


def test_a_warm_stop_waits_for_the_broker_to_take_the_acknowledgement(site, server, tmp_path):
    worker = site.worker("-c", "1")
    result = site.subject.gate.delay(str(tmp_path / "gate"))
    eventually(lambda: is_running(site, result))
    server.kill()
    (tmp_path / "gate").touch()
    eventually(lambda: "Cannot settle now" in worker.output(), timeout=30)
    worker.signal(signal.SIGTERM)
    eventually(lambda: "Stopping" in worker.output())
    server.start()
    assert worker.process.wait(30) == 0
    ran_once(site, [result])
