"""Logging of a worker: formats, handlers, colours, and what tasks print.

Logger names, formats and signals are Celery's, for the sake of log parsers and of logging
configuration that exists.  An application that configures logging by itself is left alone: its
root handlers, levels and formatters stay as they are, and its formatters see our records.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, TextIO, cast

from celeriac import signal
from celeriac.error import ImproperlyConfigured
from celeriac.log import TASK_LOGGER, TaskFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celeriac.config import Settings
    from celeriac.worker.setting import WorkerSettings

#: Our own loggers hang below the one that Celery users configure.
BASE_LOGGER = "celery"
OWN_LOGGER = "celeriac"
REDIRECT_LOGGER = "celery.redirected"

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
_COLORS = {
    logging.DEBUG: "\x1b[34m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[35m",
}
_RESET = "\x1b[0m"


def level(value: str | int) -> int:
    """Return the number of a log level given by name, in any case, or by number.

    Raises:
        ImproperlyConfigured: there is no such level.
    """
    if isinstance(value, int):
        return value
    text = value.strip().upper()
    if text.isdecimal():
        return int(text)
    if text not in _LEVELS:
        known = ", ".join(name.lower() for name in _LEVELS)
        raise ImproperlyConfigured(f'no log level "{value}"; choose one of {known}, or a number')
    return logging.getLevelNamesMapping()[text]


def use_color(stream: TextIO, wanted: bool | None = None) -> bool:
    """Tell whether to write colours to ``stream``.

    What the user asked for comes first, then ``NO_COLOR`` and ``FORCE_COLOR``, then whether
    ``stream`` is a terminal.
    """
    if wanted is not None:
        return wanted
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty()


def expand_path(template: str, node: str, index: int = 0) -> str:
    """Fill in the placeholders of the name of a log or pid file.

    Args:
        template: ``%p`` is the node, ``%n`` its name, ``%h`` its host, ``%d`` the domain, ``%i``
            the number of the child (0 for the supervisor), ``%I`` the same as ``-<number>`` and
            nothing for the supervisor, ``%%`` a percent sign.
        node: ``name@host``.
        index: the number of the child.

    Raises:
        ImproperlyConfigured: unknown placeholder.
    """
    name, _, host = node.partition("@")
    parts = template.split("%%")
    values = {
        "p": node,
        "n": name,
        "h": host,
        "d": host.partition(".")[2],
        "i": str(index),
        "I": f"-{index}" if index else "",
    }
    # A node name comes from the command line of whoever starts the worker: it must not choose
    # the directory.
    safe = {key: value.replace("/", "_").replace("\0", "_") for key, value in values.items()}
    return "%".join(_fill(part, safe, template) for part in parts)


def _fill(text: str, values: dict[str, str], template: str) -> str:
    head, *tails = text.split("%")
    for tail in tails:
        if tail[:1] not in values:
            raise ImproperlyConfigured(
                f'unknown placeholder "%{tail[:1]}" in the file name "{template}"; '
                "there are %p %n %h %d %i %I, and %% for a percent sign"
            )
        head += values[tail[0]] + tail[1:]
    return head


class ColorFormatter(logging.Formatter):
    """Writes the message, not the whole line, in the colour of its level."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line for ``record``."""
        color = _COLORS.get(record.levelno)
        if color is None:
            return super().formatMessage(record)
        plain = record.message
        record.message = f"{color}{plain}{_RESET}"
        try:
            return super().formatMessage(record)
        finally:
            # The other handlers see the same record.
            record.message = plain


class RedirectedStream(io.TextIOBase):
    """Stands in for standard output and error: each line written becomes a log record.

    Args:
        logger: where the lines go.
        level: at which level.
        original: the stream it replaces; whoever needs a file descriptor gets its own.
    """

    def __init__(self, logger: logging.Logger, level: int, original: TextIO) -> None:
        super().__init__()
        self._logger = logger
        self._level = level
        self._original = original
        self._local = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # writable there, for no use
        """The encoding of the original."""
        return self._original.encoding

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The bytes stream of the original."""
        return cast("io.BufferedIOBase", self._original.buffer)

    def fileno(self) -> int:
        """Return the file descriptor of the original."""
        return self._original.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str, /) -> int:
        """Log the lines that ``text`` completes, and keep the rest until the next call."""
        kept: str = getattr(self._local, "kept", "")
        *lines, self._local.kept = (kept + text).split("\n")
        self._log(lines)
        return len(text)

    def flush(self) -> None:
        """Log what is left of an unfinished line."""
        # Runs in the finalizer too, when __init__ may not have got far.
        local = getattr(self, "_local", None)
        kept = getattr(local, "kept", "")
        if kept:
            self._local.kept = ""
            self._log([kept])

    def _log(self, lines: Iterable[str]) -> None:
        # A handler that fails, or one of the user's that prints, must not come back here.
        if getattr(self._local, "busy", False):
            return
        self._local.busy = True
        try:
            for line in lines:
                if line.strip():
                    self._logger.log(self._level, "%s", line)
        finally:
            self._local.busy = False


class WorkerLog:
    """The logging of one worker.

    Args:
        conf: the configuration of the application.
        settings: what the command line says.
        node: the name of the worker, ``name@host``.
    """

    def __init__(self, conf: Settings, settings: WorkerSettings, node: str) -> None:
        self._conf = conf
        self._node = node
        self._level = level(settings.loglevel)
        self._template = settings.logfile
        self._wanted_color = conf.worker_log_color if settings.color is None else settings.color
        self._stream: TextIO = sys.__stderr__ or sys.stderr
        self._index = 0

    def set_up(self) -> None:
        """Set up logging in the supervisor, before it forks.

        Raises:
            ImproperlyConfigured: the log file cannot be written.
        """
        conf = self._conf
        named = self._named(conf.worker_log_format)
        base = logging.getLogger(BASE_LOGGER)
        logging.getLogger(OWN_LOGGER).parent = base
        if signal.setup_logging.receivers:
            signal.setup_logging.send(sender=None, **named)
            return
        root = logging.getLogger()
        if root.handlers and not conf.without_defaults().get("worker_hijack_root_logger"):
            # The user's configuration, and no express wish that we replace it.  Only our own
            # loggers follow --loglevel, unless it has a level for them too.
            if base.level == logging.NOTSET:
                base.setLevel(self._level)
        else:
            self._take_over(root, base)
        signal.after_setup_logger.send(sender=None, logger=root, **named)
        task_named = self._named(conf.worker_task_log_format)
        task = logging.getLogger(TASK_LOGGER)
        signal.after_setup_task_logger.send(sender=None, logger=task, **task_named)
        logging.captureWarnings(True)
        if conf.worker_redirect_stdouts:
            self._redirect(level(conf.worker_redirect_stdouts_level))

    def enter_child(self, number: int) -> None:
        """Give a child its own log file, where the name of the file asks for it.

        Args:
            number: counts the children from 1.
        """
        self._index = number
        if self._template is None or self._file() == expand_path(self._template, self._node):
            return
        for name in (None, TASK_LOGGER):
            logger = logging.getLogger(name)
            for handler in list(logger.handlers):
                if isinstance(handler, _OwnFile):
                    logger.removeHandler(handler)
                    handler.close()
                    logger.addHandler(self._dress(self._open(), handler.formatter))

    # -- parts ----------------------------------------------------------------------------

    def _take_over(self, root: logging.Logger, base: logging.Logger) -> None:
        task = logging.getLogger(TASK_LOGGER)
        redirect = logging.getLogger(REDIRECT_LOGGER)
        for logger in (root, base, task, redirect):
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
        conf = self._conf
        root.setLevel(self._level)
        plain = self._formatter(conf.worker_log_format, conf.worker_log_datefmt)
        root.addHandler(self._dress(self._open(), plain))
        task.setLevel(self._level)
        task.propagate = False
        named = self._formatter(conf.worker_task_log_format, conf.worker_task_log_datefmt)
        task.addHandler(self._dress(self._open(), named))

    def _named(self, format_: str) -> dict[str, object]:
        """Return the arguments of the three logging signals."""
        return {
            "loglevel": self._level,
            "logfile": self._file(),
            "format": format_,
            "colorize": self._color(),
        }

    def _file(self) -> str | None:
        if self._template is None:
            return None
        return expand_path(self._template, self._node, self._index)

    def _color(self) -> bool:
        if self._template is not None:
            return False
        return use_color(self._stream, self._wanted_color)

    def _formatter(self, format_: str, datefmt: str | None) -> logging.Formatter:
        return (ColorFormatter if self._color() else logging.Formatter)(format_, datefmt)

    def _open(self) -> logging.Handler:
        path = self._file()
        if path is None:
            return logging.StreamHandler(self._stream)
        try:
            return _OwnFile(path, encoding="utf-8")
        except OSError as error:
            raise ImproperlyConfigured(
                f"cannot write the log file {path}: {error.strerror}; name another with --logfile"
            ) from error

    @staticmethod
    def _dress(handler: logging.Handler, formatter: logging.Formatter | None) -> logging.Handler:
        handler.setFormatter(formatter)
        handler.addFilter(TaskFilter())
        return handler

    @staticmethod
    def _redirect(at: int) -> None:
        logger = logging.getLogger(REDIRECT_LOGGER)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, RedirectedStream):
                setattr(sys, name, RedirectedStream(logger, at, stream))


class _OwnFile(WatchedFileHandler):
    """A log file of ours; it is opened anew when logrotate has moved it away."""
