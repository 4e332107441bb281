"""The ``celery`` command: celeriac's, under Celery's name."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from celeriac.cli.main import main as command


def main() -> int:
    """Run the command line; return the exit code."""
    for real in ("celery", "kombu"):
        try:
            found = version(real)
        except PackageNotFoundError:
            continue
        sys.stderr.write(
            f"error: {real} {found} and celeriac-drop-in are installed in one environment\n"
            f"  both bring the import name {real}, so their files are mixed up\n"
            "  hint: pip uninstall celery kombu celeriac-drop-in && pip install celeriac-drop-in\n"
        )
        return 1
    return command(prog="celery")


if __name__ == "__main__":
    sys.exit(main())
