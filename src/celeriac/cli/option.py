"""Options and commands as this command line has them: global options anywhere, two prefixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celeriac.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "CELERIAC"
CELERY_PREFIX = "CELERY"


class Option(click.Option):
    """An option that reads ``CELERY_...`` where ``CELERIAC_...`` is not set."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value that the environment gives, or None."""
        value = super().resolve_envvar_value(ctx)
        prefix = ctx.auto_envvar_prefix
        if value is None and prefix and prefix.startswith(PREFIX) and self.name:
            import os

            name = f"{CELERY_PREFIX}{prefix.removeprefix(PREFIX)}_{self.name.upper()}"
            value = os.environ.get(name) or None
        return value


class Command(click.Command):
    """A command that takes the global options too, behind its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        add_global_options(self, nested=True)


class Group(click.Group):
    """A group of commands, with what `Command` has."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        add_global_options(self, nested=True)


def option(*names: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command with an `Option`."""
    return click.option(*names, cls=Option, **attributes)


json_option = option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")

_GLOBAL: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("-A", "--app", "app_name"),
        {
            "metavar": "MODULE",
            "envvar": ["CELERIAC_APP", "CELERY_APP", "APP"],
            "help": "The application: tasks, proj.celery or proj.module:attribute.",
        },
    ),
    (
        ("-b", "--broker"),
        {
            "metavar": "URL",
            "envvar": ["CELERIAC_BROKER_URL", "CELERY_BROKER_URL", "BROKER_URL"],
            "help": "The broker to use instead of the configured one.",
        },
    ),
    (
        ("--result-backend",),
        {
            "metavar": "URL",
            "envvar": ["CELERIAC_RESULT_BACKEND", "CELERY_RESULT_BACKEND", "RESULT_BACKEND"],
            "help": "The result store to use instead of the configured one.",
        },
    ),
    (
        ("--config",),
        {
            "metavar": "MODULE",
            "envvar": ["CELERIAC_CONFIG_MODULE", "CELERY_CONFIG_MODULE", "CONFIG_MODULE"],
            "help": "A module to take the configuration from.",
        },
    ),
    (
        ("--workdir",),
        {"metavar": "DIRECTORY", "help": "Change to this directory first."},
    ),
    (
        ("-C", "--no-color"),
        {"is_flag": True, "default": None, "help": "Write no colours."},
    ),
    (
        ("-q", "--quiet"),
        {"is_flag": True, "default": None, "help": "Print less."},
    ),
    (
        ("--traceback",),
        {"is_flag": True, "default": None, "help": "Show celeriac's own frames in tracebacks."},
    ),
    # A Celery application can choose a loader class; ours has one way to load.
    (("--loader",), {"hidden": True}),
)


def add_global_options(command: click.Command, *, nested: bool) -> None:
    """Give ``command`` the global options.

    Args:
        command: the root, or a command below it.
        nested: below the root they are hidden, read no environment, and give way to options of
            the same name.
    """
    taken = {name for param in command.params for name in param.opts}
    for names, attributes in _GLOBAL:
        own = dict(attributes)
        if nested:
            if taken.intersection(names):
                continue
            own.pop("envvar", None)
            own |= {"hidden": True, "allow_from_autoenv": False}
        command.params.append(Option(list(names), expose_value=False, callback=_remember, **own))


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value is not None and param.name:
        setattr(ctx.ensure_object(Session), param.name, value)
