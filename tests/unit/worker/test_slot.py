from __future__ import annotations

import os

import pytest

from celeriac.worker.slot import ENDED, HELD, RUNNING, Held, SlotTable


def test_what_a_child_enters_its_parent_reads():
    table = SlotTable(3, 16)
    pid = os.fork()
    if not pid:
        table.hold("first")
        table.hold("second", early=True)
        table.mark("second", RUNNING)
        os._exit(0)
    os.waitpid(pid, 0)
    assert table.held() == [Held("first", HELD, False), Held("second", RUNNING, True)]


def test_entries_are_used_again_and_say_nothing_of_the_past():
    table = SlotTable(1, 16)
    for number in range(5):
        receipt = "x" * (16 - number)
        assert table.room == 1
        table.hold(receipt)
        assert table.room == 0
        table.mark(receipt, ENDED)
        assert table.held() == [Held(receipt, ENDED, False)]
        table.free(receipt)
    assert table.held() == []


def test_a_receipt_longer_than_the_broker_said_is_an_error():
    table = SlotTable(1, 4)
    with pytest.raises(ValueError, match="5 bytes; the broker said 4"):
        table.hold("12345")
