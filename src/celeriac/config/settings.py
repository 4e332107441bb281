"""`app.conf`: what is set, by whom, and what follows from it."""

from __future__ import annotations

import difflib
import importlib
import os
import threading
import types
import warnings
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from copy import copy
from typing import Any

from celeriac.config.table import ALIASES, SETTINGS
from celeriac.error import CeleryWarning, ImproperlyConfigured

#: Names that begin so are meant for us: a misspelt one deserves a word.
_PREFIXES = (
    "beat_",
    "broker_",
    "dead_letter_",
    "lease_",
    "publish_",
    "result_",
    "task_",
    "worker_",
)
_EMBEDDED = "sqlite:///celeriac.db"
#: The environment wins over everything, as in Celery.
_ENVIRONMENT = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}


class Settings:
    """The settings of one application, by attribute or item.

    Changes made here win over arguments of the application, which win over the config object,
    which wins over the defaults.  The config object is loaded on first access.

    Attributes:
        version: goes up with every change, so that what was computed from settings is dropped.
    """

    __slots__ = (
        "_arguments",
        "_changes",
        "_defaults",
        "_loaded",
        "_lock",
        "_on_load",
        "_on_loaded",
        "_source",
        "_values",
        "version",
    )

    def __init__(
        self,
        arguments: Mapping[str, Any] | None = None,
        on_load: Callable[[], object] | None = None,
        on_loaded: Callable[[], object] | None = None,
    ) -> None:
        self.version = 0
        self._lock = threading.RLock()
        self._on_load = on_load
        self._on_loaded = on_loaded
        self._source: tuple[Any, str | None] | None = None
        # Copies, so that `conf.broker_transport_options["x"] = 1` concerns this application only.
        self._defaults = {name: copy(setting.default) for name, setting in SETTINGS.items()}
        self._loaded: dict[str, Any] = {}
        self._arguments = _normalize(arguments or {})
        self._changes: dict[str, Any] = {}
        self._values: dict[str, Any] | None = None

    # -- reading ---------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        values = self._values if self._values is not None else self._resolve()
        name = ALIASES.get(key, key)
        derive = _DERIVED.get(name)
        return values[name] if derive is None else derive(values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            near = _nearest(name)
            hint = f'; did you mean "{near}"?' if near else ""
            raise AttributeError(f'no setting "{name}"{hint}') from None

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting, or ``default`` when there is none of this name."""
        try:
            return self[key]
        except KeyError:
            return default

    def first(self, *keys: str) -> Any:
        """Return the first of these settings that is not None."""
        return next((value for key in keys if (value := self.get(key)) is not None), None)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and ALIASES.get(key, key) in (self._values or self._resolve())

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def keys(self) -> KeysView[str]:
        """Return the names of all settings."""
        return self._all().keys()

    def values(self) -> ValuesView[Any]:
        """Return the values of all settings."""
        return self._all().values()

    def items(self) -> ItemsView[str, Any]:
        """Return names and values of all settings."""
        return self._all().items()

    def without_defaults(self) -> dict[str, Any]:
        """Return what somebody set."""
        self._resolve()
        return {**self._loaded, **self._arguments, **self._changes}

    # -- changing --------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            self.update({name: value})

    def update(self, *others: Mapping[str, Any], **settings: Any) -> None:
        """Change settings.

        Raises:
            ImproperlyConfigured: a value of the wrong kind; nothing was changed.
        """
        changed: dict[str, Any] = {}
        for other in (*others, settings):
            changed.update(_normalize(other))
        with self._lock:
            self._changes.update(changed)
            self._changed()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Set ``key`` unless it has a value; return its value."""
        if self.get(key) is None:
            self[key] = default
        return self[key]

    def load_from(self, source: Any, namespace: str | None = None) -> None:
        """Take the config object ``source``, or the name of one, to be read on first access."""
        with self._lock:
            self._source = (source, namespace)
            self._loaded = {}
            self._changed()

    def add_defaults(self, settings: Mapping[str, Any]) -> None:
        """Set what nobody else has set."""
        with self._lock:
            self._arguments = {**_normalize(settings), **self._arguments}
            self._changed()

    def load(self) -> None:
        """Read the config object now.

        Raises:
            ImproperlyConfigured: it cannot be imported, or a value is of the wrong kind.
        """
        self._resolve()

    # -- inside ----------------------------------------------------------------------------

    def _changed(self) -> None:
        self._values = None
        self.version += 1

    def _all(self) -> dict[str, Any]:
        return {name: self[name] for name in self._resolve()}

    def _resolve(self) -> dict[str, Any]:
        values = self._values
        if values is not None:
            return values
        with self._lock:
            if self._on_load is not None:
                on_load, self._on_load = self._on_load, None
                on_load()  # may change settings
            if self._source is not None:
                source, namespace = self._source
                self._loaded = _read(source, namespace)
                self._source = None
            values = dict(self._defaults)
            values.update(self._loaded)
            values.update(self._arguments)
            values.update(self._changes)
            self._values = values
            if self._on_loaded is not None:
                on_loaded, self._on_loaded = self._on_loaded, None
                on_loaded()  # sees the settings, and may change them
                return self._resolve()
            return values


_OWN = frozenset(Settings.__slots__)


# -- what follows from other settings ------------------------------------------------------


def _environment(name: str, values: Mapping[str, Any]) -> Any:
    return os.environ.get(_ENVIRONMENT[name]) or values[name]


def _broker_url(values: Mapping[str, Any]) -> Any:
    return _environment("broker_url", values) or _EMBEDDED


def _broker_read_url(values: Mapping[str, Any]) -> Any:
    return _environment("broker_read_url", values) or _broker_url(values)


def _broker_write_url(values: Mapping[str, Any]) -> Any:
    return _environment("broker_write_url", values) or _broker_url(values)


def _result_backend(values: Mapping[str, Any]) -> Any:
    given = _environment("result_backend", values)
    if given is None and not any(
        _environment(name, values) for name in ("broker_url", "broker_read_url", "broker_write_url")
    ):
        return _EMBEDDED
    return given


def _default_exchange(values: Mapping[str, Any]) -> Any:
    return values["task_default_exchange"] or values["task_default_queue"]


def _default_routing_key(values: Mapping[str, Any]) -> Any:
    return values["task_default_routing_key"] or values["task_default_queue"]


_DERIVED: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "broker_url": _broker_url,
    "broker_read_url": _broker_read_url,
    "broker_write_url": _broker_write_url,
    "result_backend": _result_backend,
    "task_default_exchange": _default_exchange,
    "task_default_routing_key": _default_routing_key,
}


# -- names ---------------------------------------------------------------------------------


def _normalize(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked values under canonical names.

    Raises:
        ImproperlyConfigured: a value of the wrong kind, or one setting under two names.
    """
    values: dict[str, Any] = {}
    spelt: dict[str, str] = {}
    for key, value in settings.items():
        name = ALIASES.get(key, key)
        if name in spelt and values[name] != value:
            raise ImproperlyConfigured(
                f'"{spelt[name]}" and "{key}" are two names of the setting {name} and have '
                "different values; keep one"
            )
        setting = SETTINGS.get(name)
        if setting is None:
            _warn_unknown(name)
        spelt[name] = key
        values[name] = value if setting is None else setting.check(value)
    return values


def _nearest(name: str) -> str | None:
    near = difflib.get_close_matches(name.lower(), SETTINGS, n=1, cutoff=0.8)
    return near[0] if near else None


_warned: set[str] = set()


def _warn_unknown(name: str) -> None:
    # Plugins keep settings of their own in app.conf: only names that look like ours are judged.
    near = _nearest(name)
    if name in _warned or not (near or name.startswith(_PREFIXES)):
        return
    _warned.add(name)
    hint = f'; did you mean "{near}"?' if near else ", so it has no effect"
    warnings.warn(f'celeriac has no setting "{name}"{hint}', CeleryWarning, stacklevel=4)


# -- config objects ------------------------------------------------------------------------


def _read(source: Any, namespace: str | None) -> dict[str, Any]:
    if isinstance(source, str):
        source = _import(source)
    if isinstance(source, Mapping):
        found = dict(source)
    else:
        found = {
            name: getattr(source, name)
            for name in dir(source)
            if not name.startswith("_") and _is_setting(source, name)
        }
    if namespace:
        prefix = namespace.rstrip("_") + "_"
        found = {
            _without_prefix(key, prefix): value
            for key, value in found.items()
            if key.upper().startswith(prefix.upper())
        }
    return _normalize(found)


def _without_prefix(key: str, prefix: str) -> str:
    name = key[len(prefix) :].lower()
    return name if name in SETTINGS else ALIASES.get(key, name)


def _is_setting(source: Any, name: str) -> bool:
    """Tell settings from what a module has imported."""
    if name in SETTINGS or name in ALIASES:
        return True
    value = getattr(source, name, None)
    return not isinstance(value, types.ModuleType | type) and not callable(value)


def _import(path: str) -> Any:
    """Import ``package.module``, ``package.module:attribute`` or ``package.module.attribute``.

    Raises:
        ImproperlyConfigured: there is no such module or attribute.
    """
    module_name, _, attribute = path.partition(":")
    try:
        try:
            value: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            parent, _, last = module_name.rpartition(".")
            if attribute or not parent or error.name != module_name:
                raise
            value, attribute = importlib.import_module(parent), last
        for part in attribute.split(".") if attribute else ():
            value = getattr(value, part)
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f'the configuration "{path}" cannot be imported: no module "{error.name}"; '
            "is it spelt right, and its directory on sys.path?"
        ) from error
    except AttributeError as error:
        raise ImproperlyConfigured(f'the configuration "{path}" was not found: {error}') from error
    return value
