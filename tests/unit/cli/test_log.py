"""The logging of a worker."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from celeriac import context, signal
from celeriac.config import Settings
from celeriac.context import Context
from celeriac.error import ImproperlyConfigured
from celeriac.log import TaskFilter, get_task_logger
from celeriac.worker.log import (
    ColorFormatter,
    RedirectedStream,
    WorkerLog,
    expand_path,
    level,
    use_color,
)
from celeriac.worker.setting import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODE = "w1@host.example.org"
TOUCHED = (None, "celery", "celery.task", "celery.redirected", "celeriac")


class NamedTask:
    """As much of a task as a log record needs."""

    name = "proj.add"


@pytest.fixture(autouse=True)
def _clean_logging() -> Iterator[None]:
    """Give each test logging as a fresh process has it, and put everything back."""
    loggers = [logging.getLogger(name) for name in TOUCHED]
    before = [(one, one.handlers[:], one.level, one.propagate, one.parent) for one in loggers]
    streams = sys.stdout, sys.stderr
    for one in loggers:
        one.handlers[:] = []
    yield
    logging.captureWarnings(False)
    sys.stdout, sys.stderr = streams
    for one, handlers, old_level, propagate, parent in before:
        for handler in one.handlers:
            if handler not in handlers:
                handler.close()
        one.handlers[:] = handlers
        one.setLevel(old_level)
        one.propagate, one.parent = propagate, parent


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the worker logs to standard error."""
    text = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", text)
    return text


def set_up(conf: dict[str, Any] | None = None, **settings: Any) -> WorkerLog:
    root = logging.getLogger()
    # Pytest's own handlers come with the call of the test, after every fixture.
    root.handlers[:] = [one for one in root.handlers if "pytest" not in type(one).__module__]
    values = {"worker_redirect_stdouts": False, **(conf or {})}
    log = WorkerLog(Settings(values), WorkerSettings(**settings), NODE)
    log.set_up()
    return log


class TestLevel:
    """Levels by name and number."""

    @pytest.mark.parametrize(
        ("value", "number"),
        [("info", 20), ("WARNING", 30), ("Fatal", 50), ("15", 15), (10, 10), (" debug ", 10)],
    )
    def test_known(self, value: str | int, number: int) -> None:
        assert level(value) == number

    def test_unknown(self) -> None:
        with pytest.raises(ImproperlyConfigured, match='no log level "loud"; choose one of debug'):
            level("loud")


class TestFormats:
    """Lines are those of Celery, which log parsers know."""

    def test_worker_line(self, stream: io.StringIO) -> None:
        set_up(loglevel="info")
        logging.getLogger("celeriac.task").info("Task %s[%s] received", "proj.add", "an-id")
        assert stream.getvalue().endswith(": INFO/MainProcess] Task proj.add[an-id] received\n")
        assert stream.getvalue().startswith("[2")

    def test_task_line(self, stream: io.StringIO) -> None:
        set_up(loglevel="info")
        logger = get_task_logger("tests.unit.cli.task_line")
        token = context.push(NamedTask(), Context(id="an-id"))  # type: ignore[arg-type]
        try:
            logger.info("adding")
        finally:
            context.pop(token)
        logger.info("outside")
        inside, outside = stream.getvalue().splitlines()
        assert inside.endswith("] proj.add[an-id]: adding")
        assert outside.endswith("] ???[???]: outside")

    def test_level(self, stream: io.StringIO) -> None:
        set_up(loglevel="WARNING")
        logging.getLogger("celeriac.worker").info("unseen")
        get_task_logger("tests.unit.cli.level").warning("seen")
        assert [line[-4:] for line in stream.getvalue().splitlines()] == ["seen"]

    def test_formats_are_settings(self, stream: io.StringIO) -> None:
        set_up({"worker_log_format": "%(levelname)s %(task_id)s %(message)s"}, loglevel="info")
        logging.getLogger("anything").info("text")
        assert stream.getvalue() == "INFO ??? text\n"


class TestUsersConfiguration:
    """What the application configured stays as it is."""

    def test_root_is_left_alone(self, stream: io.StringIO) -> None:
        root = logging.getLogger()
        seen = io.StringIO()
        handler = logging.StreamHandler(seen)
        formatter = logging.Formatter("%(name)s|%(message)s")
        handler.setFormatter(formatter)
        root.addHandler(handler)
        root.setLevel(logging.ERROR)
        set_up(loglevel="info")
        logging.getLogger("celeriac.worker").info("ours")
        get_task_logger("tests.unit.cli.users").info("task")
        logging.getLogger("library").info("not asked for")
        assert (root.handlers, root.level) == ([handler], logging.ERROR)
        assert (handler.formatter, handler.filters) == (formatter, [])
        assert seen.getvalue() == "celeriac.worker|ours\ntests.unit.cli.users|task\n"
        assert stream.getvalue() == ""

    def test_level_of_celery_is_left_alone(self, stream: io.StringIO) -> None:
        del stream
        logging.getLogger().addHandler(logging.NullHandler())
        logging.getLogger("celery").setLevel(logging.ERROR)
        set_up(loglevel="debug")
        assert logging.getLogger("celeriac.worker").getEffectiveLevel() == logging.ERROR

    def test_hijacking_on_request(self, stream: io.StringIO) -> None:
        handler = logging.NullHandler()
        logging.getLogger().addHandler(handler)
        set_up({"worker_hijack_root_logger": True}, loglevel="info")
        logging.getLogger("celeriac.worker").info("ours")
        assert handler not in logging.getLogger().handlers
        assert "ours" in stream.getvalue()

    def test_setup_logging_takes_over(self, stream: io.StringIO) -> None:
        calls: list[dict[str, Any]] = []

        def receiver(**named: Any) -> None:
            calls.append(named)

        signal.setup_logging.connect(receiver)
        try:
            set_up(loglevel="info", logfile="/tmp/%n.log")
        finally:
            signal.setup_logging.disconnect(receiver)
        assert logging.getLogger().handlers == []
        assert calls[0]["loglevel"] == logging.INFO
        assert calls[0]["logfile"] == "/tmp/w1.log"
        assert calls[0]["colorize"] is False
        assert stream.getvalue() == ""

    def test_after_setup_signals(self, stream: io.StringIO) -> None:
        del stream
        seen: list[str] = []

        def receiver(logger: logging.Logger, **_: Any) -> None:
            seen.append(logger.name)

        signals = (signal.after_setup_logger, signal.after_setup_task_logger)
        for one in signals:
            one.connect(receiver)
        try:
            set_up()
        finally:
            for one in signals:
                one.disconnect(receiver)
        assert seen == ["root", "celery.task"]


class TestTaskLogger:
    """`get_task_logger`."""

    @pytest.mark.parametrize("name", ["celery", "celery.task"])
    def test_reserved(self, name: str) -> None:
        with pytest.raises(RuntimeError, match="reserved"):
            get_task_logger(name)

    def test_records_tell_the_task_to_any_handler(self) -> None:
        records: list[logging.LogRecord] = []

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                records.append(record)

        logger = get_task_logger("tests.unit.cli.records")
        logger.addHandler(Keep())
        token = context.push(NamedTask(), Context(id="an-id"))  # type: ignore[arg-type]
        try:
            logger.error("x")
        finally:
            context.pop(token)
        assert vars(records[0])["task_id"] == "an-id"
        assert vars(records[0])["task_name"] == "proj.add"

    def test_filter_keeps_what_a_record_says_itself(self) -> None:
        record = logging.makeLogRecord({"task_id": "mine", "task_name": "my.task"})
        assert TaskFilter().filter(record)
        assert vars(record)["task_id"] == "mine"


class TestFile:
    """The log file."""

    def test_placeholders(self) -> None:
        assert expand_path("%n-%h-%d%I-%i.%%", NODE) == "w1-host.example.org-example.org-0.%"
        assert expand_path("%p%I.log", NODE, 3) == "w1@host.example.org-3.log"

    def test_a_node_name_does_not_choose_the_directory(self) -> None:
        assert expand_path("/var/log/%n.log", "../../etc/x@h") == "/var/log/.._.._etc_x.log"

    def test_unknown_placeholder(self) -> None:
        with pytest.raises(ImproperlyConfigured, match='unknown placeholder "%x"'):
            expand_path("%x.log", NODE)

    def test_file_and_rotation(self, tmp_path: Path) -> None:
        path = tmp_path / "w1.log"
        set_up(loglevel="info", logfile=f"{tmp_path}/%n.log")
        logger = logging.getLogger("celeriac.worker")
        logger.info("one")
        path.rename(tmp_path / "old.log")
        logger.info("two")
        assert "one" in (tmp_path / "old.log").read_text()
        assert path.read_text().endswith("two\n")

    def test_a_file_per_child(self, tmp_path: Path) -> None:
        log = set_up(loglevel="info", logfile=f"{tmp_path}/%n%I.log")
        logging.getLogger("celeriac.worker").info("supervisor")
        log.enter_child(2)
        logging.getLogger("celeriac.worker").info("child")
        get_task_logger("tests.unit.cli.child").info("task")
        assert "child" not in (tmp_path / "w1.log").read_text()
        assert len((tmp_path / "w1-2.log").read_text().splitlines()) == 2

    def test_one_file_for_all(self, tmp_path: Path) -> None:
        log = set_up(logfile=f"{tmp_path}/w.log")
        before = logging.getLogger().handlers[:]
        log.enter_child(2)
        assert logging.getLogger().handlers == before

    def test_unwritable(self, tmp_path: Path) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"cannot write the log file .*--logfile"):
            set_up(logfile=f"{tmp_path}/missing/w.log")


class TestColor:
    """Colours only where somebody sees them."""

    @pytest.mark.parametrize(
        ("environment", "wanted", "colored"),
        [
            ({}, None, False),
            ({}, True, True),
            ({"FORCE_COLOR": "1"}, None, True),
            ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, None, False),
            ({"FORCE_COLOR": "1"}, False, False),
            ({"NO_COLOR": "1"}, True, True),
        ],
    )
    def test_precedence(
        self,
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
        wanted: bool | None,
        colored: bool,
    ) -> None:
        for name in ("FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert use_color(io.StringIO(), wanted) is colored

    def test_only_the_message_and_only_here(self) -> None:
        record = logging.makeLogRecord({"msg": "text", "levelno": 40, "levelname": "ERROR"})
        shown = ColorFormatter("%(levelname)s %(message)s").format(record)
        assert shown == "ERROR \x1b[31mtext\x1b[0m"
        assert record.message == "text"


class TestRedirect:
    """What tasks print becomes log records, a line each."""

    def test_print(self, stream: io.StringIO) -> None:
        set_up({"worker_redirect_stdouts": True})
        print("one", 2, [3])
        print("err", file=sys.stderr)
        print("   ")
        lines = [line.partition("] ")[2] for line in stream.getvalue().splitlines()]
        assert lines == ["one 2 [3]", "err"]
        assert "WARNING/MainProcess" in stream.getvalue()

    def test_unfinished_line_waits_for_flush(self, stream: io.StringIO) -> None:
        set_up({"worker_redirect_stdouts": True, "worker_redirect_stdouts_level": "ERROR"})
        sys.stdout.write("a")
        assert stream.getvalue() == ""
        sys.stdout.flush()
        assert stream.getvalue().endswith("ERROR/MainProcess] a\n")

    def test_a_handler_that_prints_does_not_recurse(self) -> None:
        logger = logging.getLogger("tests.unit.cli.recursion")
        redirected = RedirectedStream(logger, logging.ERROR, sys.stdout)
        emitted: list[str] = []

        class Printing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                emitted.append(record.getMessage())
                print("again", file=redirected)

        logger.addHandler(Printing())
        logger.propagate = False
        print("once", file=redirected)
        assert emitted == ["once"]

    def test_twice_is_once(self, stream: io.StringIO) -> None:
        set_up({"worker_redirect_stdouts": True})
        set_up({"worker_redirect_stdouts": True})
        print("x")
        assert stream.getvalue().count("x\n") == 1
