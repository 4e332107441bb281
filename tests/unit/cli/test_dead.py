"""``celeriac dead``."""

from __future__ import annotations

import importlib
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.message import Completion, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celeriac import Celeriac

Run = Any


@pytest.fixture
def app(tasks: str, directory: Path) -> Celeriac:
    """The application behind the name that `tasks` is."""
    sys.path.insert(0, str(directory))
    found: Celeriac = importlib.import_module(tasks).app
    return found


@pytest.fixture
def dead(app: Celeriac, tasks: str) -> list[str]:
    """The ids of two dead letters."""
    for number in range(2):
        app.tasks[f"{tasks}.add"].delay(number, 1)
    consumer = app.broker.consumer(["celery"], "test-owner")
    deliveries = consumer.receive(2, 1.0)
    consumer.close()
    app.broker.settle(
        [
            Completion(delivery, Verdict.DEAD, reason="poison", detail="killed 3 processes")
            for delivery in deliveries
        ]
    )
    return [one.message.id for one in deliveries if one.message is not None]


def ready(app: Celeriac) -> int:
    return app.broker.depth(["celery"])["celery"].ready


class TestLook:
    """List and show."""

    def test_none(self, run: Callable[..., Run], tasks: str) -> None:
        assert run("-A", tasks, "dead", "list") == (0, "no dead letters\n", "")
        assert run("-A", tasks, "dead", "list", "--json").out == "[]\n"

    def test_list(self, run: Callable[..., Run], tasks: str, dead: list[str]) -> None:
        head, *rows = run("-A", tasks, "dead", "list").out.splitlines()
        assert head.split() == ["ID", "TASK", "QUEUE", "REASON", "DIED", "DETAIL"]
        assert {row.split()[0] for row in rows} == set(dead)
        for row in rows:
            assert row.split()[1:4] == [f"{tasks}.add", "celery", "poison"]
            assert row.endswith("  killed 3 processes")

    def test_limit(self, run: Callable[..., Run], tasks: str, dead: list[str]) -> None:
        pages = [
            json.loads(run("-A", tasks, "dead", "list", "-n", "1", "--offset", at, "-j").out)
            for at in "012"
        ]
        assert [len(page) for page in pages] == [1, 1, 0]
        assert {page[0]["id"] for page in pages[:2]} == set(dead)

    def test_show(self, run: Callable[..., Run], tasks: str, dead: list[str]) -> None:
        done = run("-A", tasks, "dead", "show", dead[1])
        shown = dict(line.split(maxsplit=1) for line in done.out.splitlines())
        assert shown["id"] == dead[1]
        assert shown["reason"] == "poison"
        assert shown["args"] == "(1, 1)"

    def test_show_json_and_raw(
        self, run: Callable[..., Run], app: Celeriac, tasks: str, dead: list[str]
    ) -> None:
        letter = app.broker.dead_letter(dead[0])
        assert letter is not None
        plain = json.loads(run("-A", tasks, "dead", "show", dead[0], "-j").out)
        assert plain["bytes"] == len(letter.raw)
        assert plain["died"] == letter.died
        assert run("-A", tasks, "dead", "show", dead[0], "--raw").out == letter.raw.decode()

    def test_show_unknown(self, run: Callable[..., Run], tasks: str) -> None:
        assert run("-A", tasks, "dead", "show", "x") == (
            1,
            "",
            "error: no dead letter x\n  hint: celeriac dead list shows those there are\n",
        )


class TestReplay:
    """Dead letters go back into their queues."""

    def test_one(self, run: Callable[..., Run], app: Celeriac, tasks: str, dead: list[str]) -> None:
        assert run("-A", tasks, "dead", "replay", dead[0]).out == "replayed 1\n"
        assert ready(app) == 1
        assert [letter.id for letter in app.broker.dead_letters()] == [dead[1]]

    def test_all(self, run: Callable[..., Run], app: Celeriac, tasks: str, dead: list[str]) -> None:
        done = run("-A", tasks, "dead", "replay", "--all", "--json")
        assert set(json.loads(done.out)) == set(dead)
        assert ready(app) == 2
        assert app.broker.dead_letters() == []

    def test_unknown_beside_known(
        self, run: Callable[..., Run], app: Celeriac, tasks: str, dead: list[str]
    ) -> None:
        done = run("-A", tasks, "dead", "replay", "x", dead[0])
        assert done.code == 1
        assert done.out == "replayed 1\n"
        assert done.err.startswith("error: no dead letter x\n")
        assert ready(app) == 1

    @pytest.mark.parametrize("verb", ["replay", "purge"])
    def test_neither_nor(self, run: Callable[..., Run], tasks: str, verb: str) -> None:
        done = run("-A", tasks, "dead", verb)
        assert done.code == 2
        assert f"error: dead {verb} wants the ids of dead letters, or --all" in done.err
        assert "not both" in run("-A", tasks, "dead", verb, "x", "--all").err


class TestPurge:
    """Dead letters are deleted, but not by accident."""

    def test_force(
        self, run: Callable[..., Run], app: Celeriac, tasks: str, dead: list[str]
    ) -> None:
        assert run("-A", tasks, "dead", "purge", dead[0], "--force").out == "deleted 1\n"
        assert [letter.id for letter in app.broker.dead_letters()] == [dead[1]]
        assert run("-A", tasks, "dead", "purge", "--all", "-f", "-j").out == '{"deleted": 1}\n'

    @pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 2), ("", 2)])
    def test_question(
        self,
        run: Callable[..., Run],
        app: Celeriac,
        tasks: str,
        dead: list[str],
        monkeypatch: pytest.MonkeyPatch,
        answer: str,
        left: int,
    ) -> None:
        del dead
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        done = run("-A", tasks, "dead", "purge", "--all")
        assert len(app.broker.dead_letters()) == left
        assert done.code == (1 if left else 0)
        assert ("error: nothing was deleted\n  hint: --force" in done.err) is bool(left)
