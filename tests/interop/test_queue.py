"""Queues and priorities as both sides see them."""

from __future__ import annotations

import pytest
import redis
from tests.interop.site import Site

from celeriac.testing.ledger import Kind

DIRECTIONS = [("celery", "celeriac"), ("celeriac", "celery")]


def starts(site):
    return [record.id for record in site.ledger.records() if record.kind is Kind.START]


@pytest.mark.parametrize(("sender", "runner"), DIRECTIONS)
def test_priorities_are_kept_in_order(site, sender, runner):
    add = site.client(sender).tasks["add"]
    sent = {
        priority: [add.apply_async((priority,), priority=priority) for _ in range(3)]
        for priority in (9, 6, 3, 0)
    }
    site.worker(runner, "-c", "1", worker_prefetch_multiplier=1)
    for results in sent.values():
        assert [result.get(timeout=30) for result in results]
    best_first = [result.id for priority in sorted(sent) for result in sent[priority]]
    assert starts(site) == best_first


def test_priorities_between_the_steps(site):
    """Celery's client puts 1 and 2 where 0 is, 4 and 5 where 3 is, and so on."""
    add = site.client("celery").tasks["add"]
    sent = {add.apply_async((step,), priority=step).id: step for step in range(9, -1, -1)}
    last = add.apply_async((10,), priority=10)
    site.worker("celeriac", "-c", "1")
    assert last.get(timeout=30) == 10
    assert [sent.get(key, 10) for key in starts(site)] == [2, 1, 0, 5, 4, 3, 8, 7, 6, 9, 10]


@pytest.mark.parametrize(("sender", "runner"), DIRECTIONS)
def test_first_in_first_out(site, sender, runner):
    add = site.client(sender).tasks["add"]
    sent = [add.delay(number) for number in range(50)]
    site.worker(runner, "-c", "1")
    assert [result.get(timeout=30) for result in sent] == list(range(50))
    assert starts(site) == [result.id for result in sent]


@pytest.mark.parametrize(("sender", "runner"), DIRECTIONS)
@pytest.mark.parametrize("queue", ["media", "a.b:c/d e", "grüße"])
def test_queues_by_name(site, sender, runner, queue):
    site.worker(runner, "-c", "1", "-Q", queue)
    assert site.client(sender).tasks["add"].apply_async((1,), queue=queue).get(timeout=30) == 1


def test_a_queue_of_ours_is_declared_as_celery_declares_it(private_redis, tmp_path):
    declared = {}
    for side in ("celery", "celeriac"):
        site = Site(tmp_path, private_redis().url)
        add = site.client(side).tasks["add"]
        add.delay(1)
        add.apply_async((1,), queue="media")
        site.close()
        with redis.Redis.from_url(site.url, decode_responses=True) as server:
            keys = server.scan_iter("_kombu.binding*", _type="set")
            declared[side] = {key: server.smembers(key) for key in keys}
    assert declared["celeriac"] == declared["celery"]
    assert "_kombu.binding.media" in declared["celery"]
