"""What the supervisor says of the leases it renews; the loop itself runs in tests/integration."""

from __future__ import annotations

import os
import socket

import pytest

from celeriac.message import Completion, Message, Outgoing
from celeriac.worker.log import WorkerLog
from celeriac.worker.setting import Plan, WorkerSettings
from celeriac.worker.slot import SlotTable
from celeriac.worker.supervisor import ChildProcess, Supervisor


@pytest.fixture
def supervisor(app):
    plan = Plan("worker@host", "solo", 1, 1, ("celery",), 10, None, 10.0)
    made = Supervisor(app, plan, WorkerLog(app.conf, WorkerSettings(), plan.node), lambda: None)
    table = SlotTable(10, app.broker.capabilities.receipt_size)
    ours, theirs = socket.socketpair()
    made._children[1] = ChildProcess(os.getpid(), 1, "child", table, ours)
    yield made
    for one in (ours, theirs, made._selector, made._signals, made._wakeup, table):
        one.close()


@pytest.fixture
def lease(app, supervisor):
    """Lease a message for the child, and enter it in its table."""
    headers = {"id": "an-id", "task": "noop"}
    app.broker.publish([Outgoing(Message("an-id", "noop", b"[]", headers=headers), "celery")])
    (delivery,) = app.broker.consumer(["celery"], "child").receive(1, 0)
    supervisor._children[1].table.hold(delivery.receipt)
    return delivery


def test_a_lease_that_is_settled_meanwhile_is_not_lost(app, supervisor, lease, caplog):
    """The child strikes it out only after the broker has let it go."""
    app.broker.settle([Completion(lease)])
    supervisor._renew()
    supervisor._children[1].table.free(lease.receipt)
    supervisor._renew()
    assert "was lost" not in caplog.text


def test_a_lost_lease_is_told_once(app, supervisor, lease, caplog):
    app.broker.adopt("child", "other")
    for _ in range(4):
        supervisor._renew()
    assert caplog.text.count(f"Lease {lease.receipt} was lost") == 1
