"""Messages held by a worker of one side, and what workers of the other side do about them.

Celery's workers put back what was held for longer than ``visibility_timeout``, whoever holds it.
"""

from __future__ import annotations

import pytest
import redis

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

#: A worker of Celery that looks every second for what was held for 3 s.
IMPATIENT = {
    "broker_transport_options": {
        "visibility_timeout": 3,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    "task_acks_late": True,
    "worker_prefetch_multiplier": 1,
}
#: A worker of ours that does the same, and renews its own leases well within that time.
PATIENT = {
    "broker_transport_options": {"visibility_timeout": 3},
    "lease_ttl": 3.0,
    "lease_heartbeat": 1.0,
    "recovery_grace": 1.0,
}


@pytest.fixture
def server(plain_site):
    with redis.Redis.from_url(plain_site.url, decode_responses=True) as server:
        yield server


def started(site, result):
    """Return on which side each run of a task was started."""
    starts = site.ledger.by_id(Kind.START).get(result.id, ())
    return [start.detail.partition(" ")[0] for start in starts]


def lease(site, queue):
    """Send a task and lease it in the name of nobody; return its result and the lease."""
    ours = site.client("celeriac")
    result = ours.tasks["add"].apply_async((1,), queue=queue)
    consumer = ours.broker.consumer([queue], "nobody")
    (delivery,) = consumer.receive(1, 5.0)
    consumer.close()
    return result, delivery.receipt


def wait_for_celery_to_look(site):
    """Return once a worker of Celery has put back a lease that was younger than all others."""
    lease(site, "parked")
    broker = site.client("celeriac").broker
    eventually(lambda: broker.depth(["parked"])["parked"].ready == 1, timeout=60)


def test_celery_leaves_our_live_leases_alone(plain_site, tmp_path):
    plain_site.worker("celery", "-c", "1", "-Q", "theirs", **IMPATIENT)
    plain_site.worker("celeriac", "-c", "1", "-Q", "ours", **PATIENT)
    flag = tmp_path / "flag"
    held = plain_site.client("celery").tasks["hold"].apply_async((str(flag),), queue="ours")
    eventually(lambda: started(plain_site, held))
    wait_for_celery_to_look(plain_site)
    assert plain_site.client("celeriac").broker.depth(["ours"])["ours"].leased == 1
    flag.touch()
    assert held.get(timeout=30) == 0
    assert started(plain_site, held) == ["celeriac"]


def test_celery_restores_what_our_killed_worker_held(plain_site, server, tmp_path):
    ours = plain_site.worker("celeriac", "-c", "2", **PATIENT)
    client, flag = plain_site.client("celery"), tmp_path / "flag"
    running = [client.tasks["hold"].delay(str(flag)) for _ in range(2)]
    eventually(lambda: all(started(plain_site, one) for one in running))
    waiting = [client.tasks["add"].delay(number) for number in range(10)]
    ours.kill()
    flag.touch()
    plain_site.worker("celery", "-c", "2", **IMPATIENT)
    assert [one.get(timeout=60) for one in running] == [0, 0]
    assert [one.get(timeout=60) for one in waiting] == list(range(10))
    assert [started(plain_site, one) for one in running] == [["celeriac", "celery"]] * 2
    assert [started(plain_site, one) for one in waiting] == [["celery"]] * 10
    eventually(lambda: not server.exists("unacked", "unacked_index"))


def test_our_worker_finds_nothing_left_of_what_celery_restored(plain_site, server, tmp_path):
    ours = plain_site.worker("celeriac", "-c", "1", **PATIENT)
    client, flag = plain_site.client("celery"), tmp_path / "flag"
    held = client.tasks["hold"].delay(str(flag))
    eventually(lambda: started(plain_site, held))
    ours.kill()
    flag.touch()
    theirs = plain_site.worker("celery", "-c", "1", **IMPATIENT)
    assert held.get(timeout=60) == 0
    assert theirs.stop() == 0
    ours.start()
    assert client.tasks["add"].delay(1).get(timeout=30) == 1
    eventually(lambda: server.zcard("celeriac:lease") == 0)
    assert started(plain_site, held) == ["celeriac", "celery"]


def test_celery_does_not_run_again_what_we_acknowledged_early(plain_site, tmp_path):
    ours = plain_site.worker("celeriac", "-c", "1", **PATIENT)
    client, flag = plain_site.client("celery"), tmp_path / "flag"
    early = client.tasks["early"].delay(str(flag))
    eventually(lambda: started(plain_site, early))
    ours.kill()
    plain_site.worker("celery", "-c", "1", **IMPATIENT)
    wait_for_celery_to_look(plain_site)
    assert started(plain_site, early) == ["celeriac"]
    ours.start()
    with pytest.raises(Exception, match="ended before") as caught:
        early.get(timeout=60)
    assert type(caught.value).__name__ == "WorkerLostError"
    assert type(caught.value).__module__ == "billiard.exceptions"
    assert started(plain_site, early) == ["celeriac"]


def test_our_worker_restores_what_a_killed_worker_of_celery_held(plain_site, server, tmp_path):
    theirs = plain_site.worker("celery", "-c", "2", **IMPATIENT)
    client, flag = plain_site.client("celery"), tmp_path / "flag"
    running = [client.tasks["hold"].delay(str(flag)) for _ in range(2)]
    eventually(lambda: all(started(plain_site, one) for one in running))
    theirs.kill()
    flag.touch()
    plain_site.worker("celeriac", "-c", "2", **PATIENT)
    assert [one.get(timeout=60) for one in running] == [0, 0]
    assert [started(plain_site, one) for one in running] == [["celery", "celeriac"]] * 2
    eventually(lambda: not server.exists("unacked", "unacked_index"))


def test_our_worker_leaves_alone_what_celery_holds_within_its_time(plain_site, server, tmp_path):
    """``visibility_timeout`` is an hour unless somebody says otherwise."""
    lost, receipt = lease(plain_site, "shared")
    plain_site.worker("celery", "-c", "1", "-Q", "shared", task_acks_late=True)
    client, flag = plain_site.client("celery"), tmp_path / "flag"
    held = client.tasks["hold"].apply_async((str(flag),), queue="shared")
    broker = plain_site.client("celeriac").broker
    eventually(lambda: started(plain_site, held) and not broker.renew("nobody", [receipt]))
    plain_site.worker("celeriac", "-c", "1", "-Q", "shared", lease_ttl=1, recovery_grace=1)
    # Nobody's lease, which is younger, has been taken over: our worker has looked at all.
    eventually(lambda: not server.hexists("unacked", receipt), timeout=60)
    assert started(plain_site, held) == ["celery"]
    flag.touch()
    assert [one.get(timeout=30) for one in (held, lost)] == [0, 1]
    assert started(plain_site, held) == ["celery"]


def test_celerys_delayed_messages_outlive_its_killed_worker(plain_site, server):
    """A worker of Celery holds them in its memory; ours lets them wait in the broker."""
    theirs = plain_site.worker("celery", "-c", "1", **IMPATIENT)
    result = plain_site.client("celery").tasks["add"].apply_async((1,), countdown=3600)
    # It takes a message and notes that it has it in two steps; in between it would be lost.
    eventually(lambda: server.hlen("unacked") == 1)
    theirs.kill()
    plain_site.worker("celeriac", "-c", "1", **PATIENT)
    broker = plain_site.client("celeriac").broker
    eventually(lambda: broker.depth(["celery"])["celery"].delayed == 1, timeout=60)
    assert not started(plain_site, result)
