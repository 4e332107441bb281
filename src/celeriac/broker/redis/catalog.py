"""The scripts of the broker."""

from __future__ import annotations

from celeriac.engine.redis.script import Script

_HERE = "celeriac.broker.redis"
_COMMON = (_HERE, "common")
_QUEUE = (_HERE, "queue")
_DEAD = (_HERE, "dead")
_RESULT = ("celeriac.engine.redis", "result")

PUBLISH = Script(_COMMON, _QUEUE, (_HERE, "publish"))
SEEK = Script((_HERE, "seek"))
LEASE = Script(_COMMON, (_HERE, "lease"), allow_oom=True)
SETTLE = Script(_COMMON, _QUEUE, _RESULT, _DEAD, (_HERE, "settle"), allow_oom=True)
START = Script((_HERE, "start"), allow_oom=True)
RENEW = Script(_COMMON, (_HERE, "renew"), allow_oom=True)
ADOPT = Script(_COMMON, (_HERE, "adopt"), allow_oom=True)
RETIRE = Script(_COMMON, (_HERE, "retire"), allow_oom=True)
RESTORE = Script((_HERE, "restore"), allow_oom=True)
COUNT = Script((_HERE, "count"))
PURGE = Script((_HERE, "purge"), allow_oom=True)
EXPIRE = Script(_COMMON, _DEAD, (_HERE, "expire"), allow_oom=True)
REPLAY = Script((_HERE, "replay"))
