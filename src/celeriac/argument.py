"""The arguments of a function: do these fit, and is it ``async def``."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_VARARGS, _COROUTINE = 0x04, 0x80  # CO_VARARGS, CO_COROUTINE of a code object
#: An arity that no call has: every call is looked at closely.
_NEVER = (1, 0)


def is_async(function: Any) -> bool:
    """Tell whether calling ``function`` returns a coroutine, as far as its code tells."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    if isinstance(function, staticmethod | classmethod | MethodType):
        function = function.__func__
    if not isinstance(function, FunctionType):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _COROUTINE)


def arity(function: Callable[..., Any]) -> tuple[int, int]:
    """Return how many positional arguments suffice and how many are too few to be too many.

    Calls with that many and no keywords need no closer look.
    """
    taken = 0
    if isinstance(function, MethodType):
        function, taken = function.__func__, 1
    if not isinstance(function, FunctionType):
        return _NEVER
    code = function.__code__
    required_keywords = code.co_kwonlyargcount - len(function.__kwdefaults__ or ())
    if required_keywords or code.co_argcount < taken:
        return _NEVER
    most = code.co_argcount - taken
    least = max(0, most - len(function.__defaults__ or ()))
    return least, 1 << 30 if code.co_flags & _VARARGS else most


def fit(
    name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Check the arguments of a call.

    Raises:
        TypeError: they do not fit; the message names the task and its signature.
    """
    import inspect

    try:
        # Not through decorators: what a wrapper takes is what counts.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # builtins that tell nothing are checked by the call itself
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
        shown = signature.replace(parameters=bare, return_annotation=signature.empty)
        raise TypeError(f"{name}{shown}: {error}") from None
