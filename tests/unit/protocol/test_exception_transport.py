"""Exceptions on their way through a result."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import error
from celeriac.error import SecurityError
from celeriac.protocol import exception
from celeriac.serialization.registry import Serialization

JSON = Serialization()


def loaded(name: Any, message: Any = (), module: Any = "builtins") -> BaseException:
    return exception.load({"exc_type": name, "exc_message": message, "exc_module": module})


@pytest.mark.parametrize(
    ("cls", "module"),
    [
        (error.NotRegistered, "celery.exceptions"),
        (error.TimeoutError, "celery.exceptions"),
        (error.TaskRevokedError, "celery.exceptions"),
        (error.WorkerLostError, "billiard.exceptions"),
        (error.SoftTimeLimitExceeded, "billiard.exceptions"),
        (error.OperationalError, "kombu.exceptions"),
        (error.ContentDisallowed, "kombu.exceptions"),
        (error.PoisonMessage, "celeriac.error"),
        (error.PublishUnknown, "celeriac.error"),
    ],
)
def test_ours_travel_under_the_names_of_celery(cls: type[Exception], module: str) -> None:
    fields = exception.dump(cls("why", 1), JSON.encodable)
    assert fields == {"exc_type": cls.__name__, "exc_message": ["why", 1], "exc_module": module}
    back = exception.load(fields)
    assert type(back) is cls
    assert back.args == ("why", 1)


def test_every_wire_name_is_one_of_ours() -> None:
    for (module, name), cls in exception._OURS.items():
        assert module.partition(".")[0] in ("celery", "billiard", "kombu")
        assert cls.__module__ == "celeriac.error"
        assert issubclass(cls, BaseException), name


def test_ours_come_back_even_when_celery_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = types.ModuleType("celery.exceptions")
    theirs.Retry = type("Retry", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "celery.exceptions", theirs)
    assert type(loaded("Retry", ["x"], "celery.exceptions")) is error.Retry
    assert type(loaded("RetryTaskError", ["x"], "celery.exceptions")) is error.Retry


def test_arguments_the_serializer_refuses_become_text() -> None:
    fields = exception.dump(ValueError("a", {1}, 2), JSON.encodable)
    assert fields["exc_message"] == ["a", "{1}", 2]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "int"),
        ("builtins", "type"),
        ("builtins", "object.__init__"),
        ("builtins", "ValueError.__init__"),
        ("subprocess", "Popen"),
        ("celeriac.protocol.exception", "sys.exit"),
        ("celeriac.protocol.exception", "load"),
        ("pathlib", "Path"),
    ],
)
def test_cve_2021_23727_what_is_not_an_exception_is_never_called(module: str, name: str) -> None:
    __import__(module)
    with pytest.raises(SecurityError, match="not an exception"):
        loaded(name, ["touch /tmp/x"], module)


class Effect:
    happened = False

    def __init__(self, *_: Any) -> None:
        Effect.happened = True


def test_a_class_that_is_not_an_exception_is_not_constructed() -> None:
    with pytest.raises(SecurityError):
        loaded("Effect", [], __name__)
    assert not Effect.happened


def test_nothing_is_imported() -> None:
    for module in ("antigravity", "this"):
        assert module not in sys.modules
        assert type(loaded("Anything", ["x"], module)).__module__ == module
        assert module not in sys.modules


def test_lazy_attributes_of_a_module_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = types.ModuleType("lazy_module")
    lazy.__getattr__ = lambda name: pytest.fail(f"asked for {name}")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    assert type(loaded("Anything", ["x"], "lazy_module")).__name__ == "Anything"


def test_what_is_not_found_is_synthesized_once() -> None:
    first, second = (loaded("Gone.Inner", ["a", 1], "no.module") for _ in range(2))
    assert type(first) is type(second)
    assert isinstance(first, Exception)
    assert (type(first).__name__, type(first).__qualname__) == ("Inner", "Gone.Inner")
    assert type(first).__module__ == "no.module"
    assert first.args == ("a", 1)
    assert str(first) == "('a', 1)"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "SystemExit"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "GeneratorExit"),
        ("builtins", "BaseException"),
        ("celery.exceptions", "WorkerShutdown"),
        ("celery.exceptions", "SystemTerminate"),
    ],
)
def test_what_would_end_the_process_comes_back_as_an_exception(module: str, name: str) -> None:
    back = loaded(name, [1], module)
    assert isinstance(back, Exception)
    assert not isinstance(back, SystemExit | KeyboardInterrupt | GeneratorExit)
    assert type(back).__name__ == name
    assert exception.dump(SystemExit(1), JSON.encodable)["exc_type"] == "SystemExit"


class Picky(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code
        super().__init__(code)


class Raising(Exception):
    def __init__(self, *args: Any) -> None:
        raise RuntimeError("never")


class Sealed(Exception):
    def __new__(cls, *args: Any) -> Sealed:
        raise RuntimeError("never")


@pytest.mark.parametrize("cls", [Picky, Raising])
def test_a_constructor_that_refuses_is_left_out(cls: type[Exception]) -> None:
    back = loaded(cls.__qualname__, [5, "x"], __name__)
    assert type(back) is cls
    assert back.args == (5, "x")


@pytest.mark.parametrize(("module", "name"), [(__name__, "Sealed"), ("builtins", "ExceptionGroup")])
def test_a_class_that_cannot_be_made_at_all_is_synthesized(module: str, name: str) -> None:
    back = loaded(name, ["a", "[ValueError()]"], module)
    assert type(back).__name__ == name
    assert back.args == ("a", "[ValueError()]")


@pytest.mark.parametrize("name", ["", "\x00", "a\ud800", "x" * 10_000, "a\nb", ".", "a..b", ".a"])
def test_odd_names_do_not_fail(name: str) -> None:
    assert isinstance(loaded(name, ["x"], "no.module"), Exception)
    assert isinstance(loaded(name, ["x"]), Exception)
    assert isinstance(loaded("ValueError", ["x"], name), Exception)


def test_a_message_that_is_not_a_list_is_the_argument() -> None:
    assert loaded("ValueError", "text").args == ("text",)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.tuples(inner)
)


@given(st.dictionaries(st.sampled_from(["exc_type", "exc_message", "exc_module", "x"]), VALUES))
def test_arbitrary_fields_load_as_some_exception(fields: dict[str, Any]) -> None:
    assert isinstance(exception.load(fields), Exception)
