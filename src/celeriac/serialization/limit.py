"""Bounds on received JSON, checked on the bytes before anything is decoded."""

from __future__ import annotations

from itertools import accumulate

from celeriac.error import LimitExceeded

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 200

#: Read in pieces, so that hostile data cannot make many times its size of garbage.
_CHUNK = 64 * 1024

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check(data: bytes, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> None:
    """Refuse JSON that is too large or nested too deep.

    Args:
        data: the JSON text.
        max_bytes: the longest text accepted, bytes.
        max_depth: how many arrays and objects may be open at once.

    Raises:
        LimitExceeded: one of the bounds is passed.
    """
    if len(data) > max_bytes:
        raise LimitExceeded(f"{len(data)} bytes are more than the {max_bytes} accepted")
    # Counting costs nearly nothing, and settles nearly every message.
    if data.count(b"[") + data.count(b"{") > max_depth and is_deeper(data, max_depth):
        raise LimitExceeded(f"nested deeper than the {max_depth} levels accepted")


def is_deeper(data: bytes, levels: int) -> bool:
    """Tell whether more than ``levels`` arrays and objects are open at once in a JSON text."""
    # Without escapes every quote begins or ends a string, so that every second piece between
    # quotes is outside of strings.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside, open_now = 0, 0
    for start in range(0, len(plain), _CHUNK):
        pieces = plain[start : start + _CHUNK].split(b'"')
        brackets = b"".join(pieces[inside::2]).translate(None, _NOT_BRACKETS)
        inside = (inside + len(pieces) - 1) % 2
        course = list(accumulate(map(_STEP.__getitem__, brackets), initial=open_now))
        if max(course) > levels:
            return True
        open_now = course[-1]
    return False
