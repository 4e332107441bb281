"""Signals."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from celeriac import signal as all_signals
from celeriac.signal import Signal


def test_receivers_get_the_arguments_the_sender_and_the_signal() -> None:
    signal, got = Signal(name="s"), []

    @signal.connect
    def receive(**named: Any) -> str:
        got.append(named)
        return "answer"

    assert signal.send("me", x=1) == [(receive, "answer")]
    assert got == [{"sender": "me", "signal": signal, "x": 1}]


def test_a_receiver_may_listen_to_one_sender() -> None:
    signal, got = Signal(), []
    me = object()

    @signal.connect(sender=me)
    def one(sender: Any, **_: Any) -> None:
        got.append(sender)

    @signal.connect(sender="na" + "me")
    def two(sender: Any, **_: Any) -> None:
        got.append(sender)

    signal.send(me)
    signal.send(object())
    signal.send("name")
    assert got == [me, "name"]
    assert signal.has_listeners(me)
    assert not signal.has_listeners("other")


def test_a_failing_receiver_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    signal, got = Signal(name="s"), []

    @signal.connect
    def broken(**_: Any) -> None:
        raise ValueError("no")

    @signal.connect
    def well(**_: Any) -> None:
        got.append(1)

    with caplog.at_level(logging.ERROR):
        responses = signal.send(None)
    assert isinstance(responses[0][1], ValueError)
    assert got == [1]
    assert "broken" in caplog.text


def test_a_receiver_must_take_keywords() -> None:
    with pytest.raises(ValueError, match="kwargs"):
        Signal().connect(lambda sender: None)


def test_receivers_are_held_weakly_unless_asked_otherwise() -> None:
    signal = Signal()

    class Owner:
        def method(self, **_: Any) -> None: ...

    owner = Owner()
    signal.connect(owner.method)
    signal.connect(lambda **_: None, weak=False)
    assert len(signal.receivers) == 2
    del owner
    gc.collect()
    assert len(signal.receivers) == 1


def test_connecting_twice_connects_once_and_disconnecting_undoes_it() -> None:
    signal = Signal()

    def receive(**_: Any) -> None: ...

    signal.connect(receive)
    signal.connect(receive)
    signal.connect(lambda **_: None, weak=False, dispatch_uid="u")
    signal.connect(lambda **_: None, weak=False, dispatch_uid="u")
    assert len(signal.receivers) == 2
    assert signal.disconnect(receive)
    assert not signal.disconnect(receive)
    assert signal.disconnect(dispatch_uid="u")
    assert not signal.receivers


def test_a_receiver_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_signals, "_RETRY_INTERVAL", 0)
    signal, tries = Signal(), []

    @signal.connect(retry=True)
    def receive(**_: Any) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError
        return "in the end"

    assert signal.send(None)[0][1] == "in the end"


def test_a_signal_nobody_listens_to_is_false() -> None:
    named = [value for value in vars(all_signals).values() if isinstance(value, Signal)]
    assert len(named) > 20
    assert all(not one.receivers for one in named if one.name != "setup_logging")
