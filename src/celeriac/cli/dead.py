"""``celeriac dead``: the messages that will not be run, and what to do with them."""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from celeriac.cli.option import Group, json_option, option
from celeriac.cli.problem import USAGE, Problem
from celeriac.error import DecodeError
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.broker.base import Broker
    from celeriac.cli.session import Session
    from celeriac.message import DeadLetter

#: How many dead letters are read from the broker at once.
PAGE = 500


@click.group(cls=Group)
def command() -> None:
    """Look at dead letters, run them again or delete them."""


@command.command("list")
@option("-n", "--limit", type=click.IntRange(min=1), default=100, help="How many, at most.")
@option("--offset", type=click.IntRange(min=0), default=0, help="How many to leave out first.")
@json_option
@click.pass_obj
def list_(session: Session, /, limit: int, offset: int, as_json: bool) -> None:
    """List dead letters, the latest first."""
    letters = session.app.broker.dead_letters(limit, offset)
    if as_json:
        click.echo(json.dumps([_plain(letter) for letter in letters]))
    elif letters:
        rows = [("ID", "TASK", "QUEUE", "REASON", "DIED", "DETAIL")]
        rows += [
            (one.id, one.task or "?", one.queue, one.reason, _time(one.died), one.detail)
            for one in letters
        ]
        click.echo(_table(rows))
    else:
        click.echo("no dead letters")


@command.command()
@click.argument("dead_id", metavar="ID")
@option("--raw", is_flag=True, help="Write the message, byte for byte, and nothing else.")
@json_option
@click.pass_obj
def show(session: Session, /, dead_id: str, raw: bool, as_json: bool) -> None:
    """Show one dead letter."""
    letter = session.app.broker.dead_letter(dead_id)
    if letter is None:
        raise _unknown(session, [dead_id])
    if raw:
        sys.stdout.buffer.write(letter.raw)
    elif as_json:
        click.echo(json.dumps({**_plain(letter), **_content(letter, encoded=True)}))
    else:
        shown = {**_plain(letter), "died": _time(letter.died), **_content(letter)}
        width = max(map(len, shown))
        for name, value in shown.items():
            click.echo(f"{name:<{width}}  {value}")


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@click.pass_obj
def replay(session: Session, /, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Put dead letters back into their queues, with a clean record."""
    _choose(session, "replay", ids, everything=everything)
    broker = session.app.broker
    # What dies again meanwhile is not looked at twice: the ids are read before the first moves.
    wanted = _ids(broker) if everything else list(ids)
    found: list[str] = []
    for start in range(0, len(wanted), PAGE):
        found += broker.replay(wanted[start : start + PAGE])
    click.echo(json.dumps(found) if as_json else f"replayed {len(found)}")
    missing = [] if everything else [one for one in ids if one not in found]
    if missing:
        raise _unknown(session, missing)


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@option("--all", "everything", is_flag=True, help="All of them.")
@option("-f", "--force", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def purge(
    session: Session, /, ids: tuple[str, ...], everything: bool, force: bool, as_json: bool
) -> None:
    """Delete dead letters for good."""
    _choose(session, "purge", ids, everything=everything)
    if not force:
        _confirm(session, "all dead letters" if everything else f"{len(ids)} dead letter(s)")
    count = session.app.broker.forget_dead(None if everything else ids)
    click.echo(json.dumps({"deleted": count}) if as_json else f"deleted {count}")


def _choose(session: Session, verb: str, ids: Sequence[str], *, everything: bool) -> None:
    if everything == bool(ids):
        what = "either ids or --all, not both" if ids else "the ids of dead letters, or --all"
        raise Problem(
            f"dead {verb} wants {what}", hint=f"{session.prog} dead list shows them", code=USAGE
        )


def _confirm(session: Session, what: str) -> None:
    question = f"Delete {what} in {session.app.broker.display} for good?"
    try:
        sure = click.confirm(question, err=True)
    except click.Abort:
        sure = False
    if not sure:
        raise Problem("nothing was deleted", hint="--force deletes without asking")


def _unknown(session: Session, ids: Sequence[str]) -> Problem:
    return Problem(
        f"no dead letter {', '.join(ids)}", hint=f"{session.prog} dead list shows those there are"
    )


def _ids(broker: Broker) -> list[str]:
    ids: list[str] = []
    while page := broker.dead_letters(PAGE, len(ids)):
        ids += [letter.id for letter in page]
    return ids


def _plain(letter: DeadLetter) -> dict[str, Any]:
    plain = msgspec.structs.asdict(letter)
    del plain["raw"]
    return plain


def _content(letter: DeadLetter, *, encoded: bool = False) -> dict[str, Any]:
    """Return what can be told of the message without decoding its body."""
    content: dict[str, Any] = {"bytes": len(letter.raw)}
    if encoded:
        content["raw"] = base64.b64encode(letter.raw).decode("ascii")
    try:
        headers = envelope.decode(letter.raw).headers
    except DecodeError as error:
        return {**content, "unreadable": str(error)}
    names = {"argsrepr": "args", "kwargsrepr": "kwargs", "origin": "origin", "retries": "retries"}
    content |= {name: headers[key] for key, name in names.items() if headers.get(key) is not None}
    return content


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)
