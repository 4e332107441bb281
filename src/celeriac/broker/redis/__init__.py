"""Messages on Redis 6.2 or later, and on Valkey, in kombu's keys.

`broker` is the adapter; `sending`, `settlement`, `recovery` and `administration` are its plans,
`consumer` receives.  The scripts in ``scripts/`` do what must happen in one step.
"""

from __future__ import annotations

from celeriac.broker.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
