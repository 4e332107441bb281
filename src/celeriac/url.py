"""URLs of brokers and stores: which adapter, and how to show one without its password."""

from __future__ import annotations

import difflib
import importlib
import re
from typing import TYPE_CHECKING, Any

from celeriac.error import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping


def scheme(url: str) -> str:
    """Return the scheme of ``url``; a bare name such as ``memory`` is its own scheme."""
    return url.partition("://")[0].rstrip(":").lower()


def redact(url: str) -> str:
    """Return ``url`` with its password replaced by ``**``."""
    return re.sub(r"(://[^/@]*?):[^/]*@", r"\1:**@", url)


def load_adapter(kind: str, table: Mapping[str, tuple[str, str]], url: str) -> Any:
    """Return the adapter class that ``table`` names for the scheme of ``url``.

    Args:
        kind: what the table is for, for the error: ``broker`` or ``result store``.
        table: from scheme to module and class name.
        url: the user's URL.

    Raises:
        ImproperlyConfigured: no adapter has this scheme.
    """
    name = scheme(url)
    try:
        module, cls = table[name]
    except KeyError:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f'; did you mean "{near[0]}://"?' if near else ""
        known = ", ".join(sorted(table))
        raise ImproperlyConfigured(
            f'no {kind} for the URL scheme "{name}"{hint} (known: {known})'
        ) from None
    return getattr(importlib.import_module(module), cls)
