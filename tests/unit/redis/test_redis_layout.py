"""Names of keys."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.engine.redis.address import parse
from celeriac.engine.redis.layout import Layout
from celeriac.error import BrokerRefused


def layout(**options: Any) -> Layout:
    return Layout(parse("redis://h/7", options))


def test_lists_are_those_of_kombu() -> None:
    assert layout().lists("q") == ("q", "q\x06\x163", "q\x06\x166", "q\x06\x169")


@pytest.mark.parametrize(
    ("priority", "key"),
    [
        (-1, "q"),
        (0, "q"),
        (2, "q"),
        (3, "q\x06\x163"),
        (5, "q\x06\x163"),
        (9, "q\x06\x169"),
        (255, "q\x06\x169"),
    ],
)
def test_a_priority_goes_to_the_step_below(priority: int, key: str) -> None:
    assert layout().list_of("q", priority) == key


def test_other_steps() -> None:
    other = layout(priority_steps=[5, 0], sep=":")
    assert other.lists("q") == ("q", "q:5")
    assert other.list_of("q", 4) == "q"


def test_the_prefix_is_on_every_key() -> None:
    named = layout(global_keyprefix="p:")
    keys = [value for name, value in vars(named).items() if isinstance(value, str)]
    keys += [*named.lists("q"), named.claim("o", "q"), named.once("i", 0), named.result("i")]
    keys += [named.wake("q"), named.sent("m"), *(key for key, _ in named.bindings("q"))]
    assert all(key.startswith("p:") for key in keys if key != named.separator)


def test_the_channel_names_the_database() -> None:
    assert layout().wake("q") == "celeriac:wake:7:q"


def test_bindings_are_those_of_kombu() -> None:
    member = "q\x06\x16\x06\x16q"
    assert layout().bindings("q") == (
        ("_kombu.binding.q", member),
        ("_kombu.binding_permanent.q", member),
    )


@pytest.mark.parametrize(
    "queue",
    [
        "",
        "unacked",
        "unacked_index",
        "unacked_mutex",
        "_kombu.binding.x",
        "celeriac:lease",
        "celery-task-meta-x",
        "a\x06\x163",
        "a\x00",
        "a\n",
        "x" * 256,
    ],
)
def test_names_that_are_taken(queue: str) -> None:
    with pytest.raises(BrokerRefused, match="queue name"):
        layout().lists(queue)


def test_the_ending_of_an_entry_is_json() -> None:
    assert layout().suffix('é"') == ',"","\\u00e9\\""]'
