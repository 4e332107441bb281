"""See to it that the tests can have the servers they need.

They use private ones, which they start themselves on free ports; without the program for that,
they use one that runs on its standard port.  If there is neither, the program is installed here,
on a Debian machine and as root.  Else the tests that need it skip on a laptop; where ``CI=true``
this fails.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

REDIS_PORT = 6379


def main() -> int:
    """Return the exit code: 1 only in continuous integration without a server."""
    given = "CELERIAC_TEST_REDIS_URL" in os.environ
    if given or shutil.which("redis-server") or listens(REDIS_PORT) or install("redis-server"):
        return 0
    print("-- no Redis, and no redis-server to start one", flush=True)
    print("  hint: apt install redis-server | brew install redis | CELERIAC_TEST_REDIS_URL=...")
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        print("error: CI is set, and the tests that need Redis cannot run")
        return 1
    return 0


def listens(port: int) -> bool:
    """Tell whether somebody listens on ``port`` of this host."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def install(package: str) -> bool:
    """Install a Debian package named like its program, if we may; tell whether it is there."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    print(f"-- installing {package}", flush=True)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([apt, "update", "-qq"], env=environ, check=False)
    subprocess.run([apt, "install", "-y", "-qq", package], env=environ, check=False)
    return shutil.which(package) is not None


if __name__ == "__main__":
    sys.exit(main())
