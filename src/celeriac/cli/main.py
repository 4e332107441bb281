"""The ``celeriac`` command: the table of commands, and the one place that ends them.

Commands are imported when they are called, so that ``celeriac --help`` pays for none of them.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from celeriac import error as errors
from celeriac.cli.option import PREFIX, add_global_options
from celeriac.cli.problem import (
    UNAVAILABLE,
    USAGE,
    Problem,
    in_user_code,
    show,
    user_traceback,
)
from celeriac.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.app import Celeriac

#: name -> (module with the attribute ``command``, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "call": ("celeriac.cli.call", "Send a task."),
    "dead": ("celeriac.cli.dead", "Look at dead letters, run them again or delete them."),
    "result": ("celeriac.cli.result", "Show the state and the result of a task."),
    "worker": ("celeriac.cli.worker", "Run tasks."),
}

#: Celery has these; they come in later versions.
LATER = frozenset(
    {
        "amqp",
        "beat",
        "control",
        "events",
        "flower",
        "graph",
        "inspect",
        "list",
        "logtool",
        "migrate",
        "multi",
        "purge",
        "report",
        "shell",
        "status",
        "upgrade",
    }
)


class Root(click.Group):
    """The root command; its commands come from `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that ``args`` begin with, or say which one was meant."""
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        prog = ctx.info_name
        if name in LATER:
            raise Problem(
                f'the command "{name}" is not part of celeriac {version()} yet',
                f"there are: {', '.join(sorted(COMMANDS))}",
                code=USAGE,
            )
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f'did you mean "{prog} {near[0]}"?' if near else f"{prog} --help lists them"
        raise Problem(f'no command "{name}"', hint=hint, code=USAGE)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


def version() -> str:
    """Return the version of celeriac."""
    from celeriac import __version__

    return __version__


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value:
        click.echo(f"celeriac {version()}")
        ctx.exit()


def root() -> click.Group:
    """Return the root command."""
    group = Root(
        name="celeriac",
        help="Run and look after distributed tasks.",
        context_settings={"auto_envvar_prefix": PREFIX, "help_option_names": ["-h", "--help"]},
    )
    add_global_options(group, nested=False)
    group.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Print the version.",
        )
    )
    return group


def main(
    argv: Sequence[str] | None = None, prog: str = "celeriac", app: Celeriac | None = None
) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the arguments without the name of the program; those of the process by default.
        prog: the name of the program, for usage lines and hints.
        app: the application to use instead of the one that ``--app`` names.
    """
    session = Session(prog, app)
    try:
        code = root().main(
            args=None if argv is None else list(argv),
            prog_name=prog,
            standalone_mode=False,
            obj=session,
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output, `head` for instance, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except click.Abort:
        show(Problem("aborted"), color=_color(session))
        return 1
    except Exception as error:  # noqa: BLE001 - the end of the line: each kind has its message
        problem = _problem(error, session)
        show(problem, color=_color(session))
        return problem.code
    finally:
        session.close()
    return code if isinstance(code, int) else 0


def _color(session: Session) -> bool:
    if session.no_color or os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


def _problem(error: Exception, session: Session) -> Problem:
    match error:
        case Problem():
            return error
        case click.NoSuchOption():
            return _no_such_option(error, session)
        case click.UsageError():
            hint = f"{error.ctx.command_path} --help" if error.ctx else None
            return Problem(_sentence(error.format_message()), hint=hint, code=USAGE)
        case errors.BrokerUnavailable() | errors.StoreUnavailable() | errors.PublishUnknown():
            return _told(error, UNAVAILABLE, session)
        case errors.ImproperlyConfigured():
            return _told(error, USAGE, session)
        case errors.OperationalError() | errors.CeleryError():
            return _told(error, 1, session)
        case ImportError() if not in_user_code(error):
            named = "imports, include, autodiscover_tasks or --include"
            return Problem(str(error), f"the configuration names it: {named}")
        case _:
            return _unexpected(error, session)


def _told(error: Exception, code: int, session: Session) -> Problem:
    """Show an error of ours: its text names the mistake, and behind a semicolon the cure."""
    first, *rest = str(error).split("\n")
    mistake, _, cure = first.rpartition("; ")
    trace = user_traceback(error, everything=True) if session.traceback else None
    hint = cure if mistake else _elsewhere(error)
    return Problem((mistake or first).rstrip("."), *rest, hint=hint, code=code, trace=trace)


def _elsewhere(error: Exception) -> str | None:
    if isinstance(error, errors.BrokerUnavailable):
        return "is it running? --broker names another one"
    if isinstance(error, errors.StoreUnavailable):
        return "is it running? --result-backend names another one"
    return None


def _no_such_option(error: click.NoSuchOption, session: Session) -> Problem:
    near = error.possibilities or ()
    path = error.ctx.command_path if error.ctx else session.prog
    hint = f"did you mean {near[0]}?" if near else f"{path} --help lists the options"
    return Problem(f'no option "{error.option_name}"', hint=hint, code=USAGE)


def _unexpected(error: Exception, session: Session) -> Problem:
    """Show an exception nobody foresaw: of the user's code, or a bug of ours."""
    users = in_user_code(error)
    trace = user_traceback(error, everything=session.traceback or not users)
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    if users:
        return Problem(text, trace=trace)
    return Problem(
        text, trace=trace, hint="this is a bug of celeriac; please report it with the lines above"
    )


def _sentence(text: str) -> str:
    """Return one of click's sentences in our style: no capital, no full stop."""
    return (text[:1].lower() + text[1:]).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
