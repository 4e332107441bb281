"""What Celery has and celeriac has not: a clear error instead of a stand-in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from celeriac import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGES = ("celery", "kombu")


def guard(module_name: str) -> Callable[[str], NoReturn]:
    """Return the ``__getattr__`` of a module: it says that a name is not part of celeriac.

    ``from module import name`` replaces the text of an AttributeError by its own, but asks the
    import system for a submodule first when the module is a package.  So each module passes for
    one, and `_Finder` answers.
    """
    module = sys.modules[module_name]
    if not hasattr(module, "__path__"):
        module.__path__ = []

    def missing(name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(f"module {module_name!r} has no attribute {name!r}")
        raise AttributeError(_text(f"{module_name}.{name}"))

    return missing


def _text(name: str) -> str:
    return f"{name} is not part of celeriac {__version__} yet"


class _Finder:
    """The last in line: finds nothing, and says so for the packages that are ours."""

    @staticmethod
    def find_spec(fullname: str, path: object = None, target: object = None) -> None:
        """Raise ImportError for a missing module or name of our packages."""
        del path, target
        if fullname.startswith(tuple(f"{name}." for name in _PACKAGES)):
            # Not ModuleNotFoundError, which a from-import would swallow.
            raise ImportError(_text(fullname), name=fullname)


if _Finder not in sys.meta_path:
    sys.meta_path.append(_Finder)
