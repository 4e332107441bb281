"""Write docs/settings.md from the table of settings; with ``--check``, only compare."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from celeriac.config.table import SETTINGS

if TYPE_CHECKING:
    from celeriac.config.setting import Setting

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
TITLES = {"broker": "Broker", "result": "Results", "task": "Tasks", "worker": "Worker"}
HEAD = """\
# Settings

Written by `make docs` from `src/celeriac/config/table.py`; edit there.

Set them on `app.conf`, as arguments of `Celeriac(...)`, or in the module or object given to
`app.config_from_object`. Every setting may be `None`, which means "not set". Upper case and the
old names are accepted too. How the defaults differ from Celery's:
[Moving from Celery](migrate-from-celery.md).
"""


def main() -> int:
    """Write the page, or tell by the exit code whether it is what it should be."""
    if "--check" in sys.argv:
        return PAGE.read_text() != page()
    PAGE.write_text(page())
    return 0


def page() -> str:
    """Return the text of the page."""
    ordered = sorted(SETTINGS.values(), key=lambda setting: (title(setting), setting.name))
    parts = [HEAD]
    for heading, settings in groupby(ordered, key=title):
        parts.append(f"\n## {heading}\n")
        parts += [entry(setting) for setting in settings]
    return "".join(parts)


def title(setting: Setting) -> str:
    """Return the heading under which a setting stands."""
    return TITLES.get(setting.name.partition("_")[0], "General and delivery")


def entry(setting: Setting) -> str:
    """Return what the page says about one setting."""
    old = f" Old names: {', '.join(f'`{name}`' for name in setting.old)}." if setting.old else ""
    return (
        f'\n<a id="{setting.name}"></a>\n'
        f"**`{setting.name}`** ({setting.kind.name}; default `{setting.default!r}`)  \n"
        f"{setting.doc}{old}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
