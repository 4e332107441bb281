"""Finds the application that ``--app`` names, by Celery's rules."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from types import ModuleType

from celeriac.app import Celeriac
from celeriac.cli.problem import USAGE, Problem, user_traceback

#: What users call the module or the submodule with the application.
_COMMON_NAMES = ("tasks", "celery", "app")


def find(name: str, *, prog: str, everything: bool = False) -> Celeriac:
    """Return the application called ``name``.

    ``module:attribute`` is exact.  ``module`` means its attribute ``app``, else ``celery``, else
    the only application in it, else the same in its submodule ``celery``.  ``module.attribute``
    is tried when there is no such module.

    Args:
        name: what the user wrote.
        prog: the name of the command, for hints.
        everything: show our own frames too when the user's module raises.

    Raises:
        Problem: there is none, there are several, or importing the module raised.
    """
    search = _Search(name, prog, everything)
    module_name, colon, attribute = name.partition(":")
    if colon:
        return search.attribute(search.load(module_name), attribute)
    if _exists(name):
        return search.inside(search.load(name))
    parent, dot, attribute = name.rpartition(".")
    if dot and _exists(parent):
        return search.attribute(search.load(parent), attribute)
    raise search.no_module(name)


class _Search:
    def __init__(self, name: str, prog: str, everything: bool) -> None:
        self._name = name
        self._prog = prog
        self._everything = everything

    def load(self, module_name: str) -> ModuleType:
        if not _exists(module_name):
            raise self.no_module(module_name)
        try:
            return importlib.import_module(module_name)
        except Exception as error:
            raise self._problem(
                f"importing {module_name} raised {type(error).__name__}",
                trace=user_traceback(error, everything=self._everything),
            ) from error

    def attribute(self, module: ModuleType, attribute: str) -> Celeriac:
        """Return the application that the attribute is, or that is in the module it is."""
        missing = object()
        found: object = module
        for part in attribute.split("."):
            found = getattr(found, part, missing)
        if isinstance(found, Celeriac):
            return found
        if isinstance(found, ModuleType):
            return self.inside(found)
        where = f"{module.__name__} was imported from {_file(module)}"
        if found is missing:
            said = f'{where} but has no attribute "{attribute}"'
        else:
            kind = type(found)
            said = f'{where}; "{attribute}" in it is a {kind.__module__}.{kind.__qualname__}'
        raise self._problem(f"{said}; {_names(module)}", hint=self._hint(module))

    def inside(self, module: ModuleType) -> Celeriac:
        """Return the application in a module."""
        applications = _applications(module)
        for usual in ("app", "celery"):
            if usual in applications:
                return applications[usual]
        distinct = {id(app): app for app in applications.values()}
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        if not distinct and hasattr(module, "__path__"):
            submodule = f"{module.__name__}.celery"
            if _exists(submodule):
                return self.inside(self.load(submodule))
        where = f"{module.__name__} was imported from {_file(module)}"
        count = "several applications" if distinct else "no application"
        raise self._problem(f"{where} but has {count}; {_names(module)}", hint=self._hint(module))

    def no_module(self, module_name: str) -> Problem:
        here = os.getcwd()
        near = difflib.get_close_matches(module_name, _modules(here), n=1)
        if near:
            hint = f'did you mean "-A {near[0]}"?'
        else:
            hint = f"run {self._prog} where {module_name.partition('.')[0]} is, or use --workdir"
        return self._problem(
            f'there is no module "{module_name}"; looked in {here} and on the Python path',
            hint=hint,
        )

    def _hint(self, module: ModuleType) -> str:
        names = list(_applications(module))
        if names:
            return f"{self._prog} -A {module.__name__}:{names[0]} worker"
        return f'put app = Celeriac("{module.__name__}") into {module.__name__}'

    def _problem(self, said: str, hint: str | None = None, trace: str | None = None) -> Problem:
        return Problem(
            f'could not load app "{self._name}"', said, hint=hint, trace=trace, code=USAGE
        )


def suggest(prog: str) -> str:
    """Return a hint for a command that needs an application and was given none."""
    modules = _modules(os.getcwd())
    for name in _COMMON_NAMES:
        if name in modules:
            return f"{prog} -A {name} worker"
    return f"{prog} -A MODULE worker, where MODULE is the Python module with your application"


def _exists(name: str) -> bool:
    """Tell whether there is a module ``name``; its parents are imported for it."""
    if not all(name.split(".")):
        return False
    if name in sys.modules:
        return True
    parent = name.rpartition(".")[0]
    if parent and not _exists(parent):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ValueError, ModuleNotFoundError):
        # Its parent is a module and not a package.
        return False
    except Exception:  # noqa: BLE001 - the parent's own code; importing it tells the user
        return True


def _applications(module: ModuleType) -> dict[str, Celeriac]:
    # By type(): `current_app`, which any module may have imported, passes isinstance().
    found = vars(module).items()
    return {name: value for name, value in found if issubclass(type(value), Celeriac)}


def _names(module: ModuleType) -> str:
    names = ", ".join(_applications(module)) or "none"
    return f"Celeriac instances found there: {names}"


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "memory"


def _modules(directory: str) -> list[str]:
    """Return the names that can be imported from the files of ``directory``."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            stem, extension = os.path.splitext(entry.name)
            if stem.isidentifier() and (extension == ".py" or (not extension and entry.is_dir())):
                found.append(stem)
    return sorted(found)
