"""What the options that every command takes add up to."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from celeriac.cli.problem import USAGE, Problem

if TYPE_CHECKING:
    from celeriac.app import Celeriac


class Session:
    """One call of the command line.

    Attributes:
        app_name: what ``--app`` says.
        broker: what ``--broker`` says.
        result_backend: what ``--result-backend`` says.
        config: what ``--config`` says.
        workdir: what ``--workdir`` says.
        no_color: never write colours.
        quiet: say less.
        traceback: show our own frames in tracebacks.
        prog: the name the command was called by, for hints.
    """

    app_name: str | None = None
    broker: str | None = None
    result_backend: str | None = None
    config: str | None = None
    workdir: str | None = None
    no_color: bool = False
    quiet: bool = False
    traceback: bool = False

    def __init__(self, prog: str = "celeriac", app: Celeriac | None = None) -> None:
        self.prog = prog
        self._given = app

    @property
    def has_app(self) -> bool:
        """True when the user said which application is meant, so that its tasks are known."""
        return self._given is not None or self.app_name is not None

    @cached_property
    def app(self) -> Celeriac:
        """The application, with the options of the command line applied to its configuration.

        Raises:
            Problem: it cannot be found or imported.
        """
        self._enter_workdir()
        app = self._given or self._find()
        if self.config:
            app.config_from_object(self.config)
        for name, url in (("broker_url", self.broker), ("result_backend", self.result_backend)):
            if url:
                app.conf[name] = url
                # The environment wins over app.conf, and the command line over both.
                os.environ.pop(f"CELERY_{name.upper()}", None)
        return app

    def close(self) -> None:
        """Close the connections of the application, unless it belongs to the caller."""
        app = vars(self).get("app")
        if app is not None and self._given is None:
            app.close()

    def _find(self) -> Celeriac:
        from celeriac.cli.application import find

        if self.app_name:
            return find(self.app_name, prog=self.prog, everything=self.traceback)
        from celeriac.app import Celeriac

        return Celeriac("default")

    def _enter_workdir(self) -> None:
        if self.workdir:
            try:
                os.chdir(self.workdir)
            except OSError as error:
                raise Problem(
                    f'cannot change to the directory "{self.workdir}": {error.strerror}', code=USAGE
                ) from error
        # A console script has the directory of the script on its path, not the user's.
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)
