"""Lua scripts: loaded from files next to the code that calls them, run by their digest."""

from __future__ import annotations

import hashlib
import pkgutil
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Lets a script free memory on a server that has none left (Redis 7 and Valkey).
_SHEBANG = b"#!lua flags=allow-oom\n"


class Source(NamedTuple):
    """The text of a script and its digest, the name the server knows it by."""

    text: bytes
    digest: str


class Script:
    """One script, made of one or more files.

    Args:
        *files: the package and the name of each file, which lies in the folder ``scripts`` of the
            package; the last one is the script, the others are what it uses.
        allow_oom: it must run on a full server, because it drains it.
    """

    def __init__(self, *files: tuple[str, str], allow_oom: bool = False) -> None:
        self.name = files[-1][1]
        self._files = files
        self._allow_oom = allow_oom

    @cached_property
    def _plain(self) -> Source:
        text = b"\n".join(_read(package, name) for package, name in self._files)
        return Source(text, _digest(text))

    @cached_property
    def _flagged(self) -> Source:
        text = _SHEBANG + self._plain.text
        return Source(text, _digest(text))

    def source(self, flags: bool) -> Source:
        """Return what to run on a server that understands flags, or does not."""
        return self._flagged if flags and self._allow_oom else self._plain


class Call(NamedTuple):
    """One run of a script."""

    script: Script
    keys: Sequence[Any]
    arguments: Sequence[Any]


def _read(package: str, name: str) -> bytes:
    text = pkgutil.get_data(package, f"scripts/{name}.lua")
    if text is None:
        raise FileNotFoundError(f"{package}/scripts/{name}.lua is not part of this installation")
    return text


def _digest(text: bytes) -> str:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()
