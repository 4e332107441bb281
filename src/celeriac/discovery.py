"""Finding the modules with tasks by convention: ``<package>.tasks``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable

from celeriac.error import ImproperlyConfigured

Packages = Iterable[str] | Callable[[], Iterable[str]] | None


def discover(packages: Packages, related_name: str | None = "tasks") -> None:
    """Import ``related_name`` of each package that has such a module.

    Args:
        packages: names, or what returns them; None means the installed applications of Django.
        related_name: the name of the module; None imports the packages themselves.
    """
    names = packages() if callable(packages) else packages
    for package in _installed_applications() if names is None else names:
        _import_related(package, related_name)


def _import_related(package: str, related_name: str | None) -> None:
    if related_name is None:
        importlib.import_module(package)
        return
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        # Django names applications by the path of their configuration class, too.
        parent = package.rpartition(".")[0]
        if not parent or error.name != package:
            raise
        _import_related(parent, related_name)
        return
    module = f"{package}.{related_name}"
    # Only a module that is not there is passed over; one that cannot be imported is an error.
    if importlib.util.find_spec(module) is not None:
        importlib.import_module(module)


def _installed_applications() -> list[str]:
    apps = sys.modules.get("django.apps")
    if apps is None:
        raise ImproperlyConfigured(
            "autodiscover_tasks() without packages asks Django which applications are installed, "
            'and Django is not loaded; name the packages: autodiscover_tasks(["proj.orders"])'
        )
    return [config.name for config in apps.apps.get_app_configs()]
