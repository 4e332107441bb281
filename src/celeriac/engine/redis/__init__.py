"""What the broker and the store on Redis share: addresses, connections, keys, scripts.

Nothing here knows what a delivery or a result means.  `address` reads URLs and options,
`connection` holds sockets, `runner` carries out plans on them, `script` loads Lua, `layout` names
keys and `fault` tells what went wrong.
"""

from __future__ import annotations

from importlib.util import find_spec

from celeriac.error import ImproperlyConfigured

if find_spec("redis") is None or find_spec("hiredis") is None:
    raise ImproperlyConfigured('Redis needs a driver: pip install "celeriac[redis]"')
