"""The settings: declared once in `celeriac.config.table`, read through `app.conf`."""

from __future__ import annotations

from celeriac.config.setting import Setting
from celeriac.config.settings import Settings
from celeriac.config.table import SETTINGS

__all__ = ["SETTINGS", "Setting", "Settings"]
