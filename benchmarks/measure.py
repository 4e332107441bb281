"""One measurement, in a process of its own: ``python -m benchmarks.measure WHAT COUNT``.

Prints one JSON line.  The system under test is chosen by ``BENCH_SYSTEM``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import redis

from benchmarks.subject import SYSTEM, URL, add, noop

TIMEOUT = 180.0


def worker(processes: int) -> subprocess.Popen[bytes]:
    """Start a prefork worker with its defaults and as many children."""
    command = [sys.executable, "-m", SYSTEM, "-A", "benchmarks.subject", "worker"]
    command += ["-c", str(processes), "-l", "ERROR"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a worker warmly."""
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def throughput(task: object, args: tuple[int, ...], count: int) -> float:
    """Return tasks per second of two worker processes, from the first lease to the last ack."""
    server = redis.Redis.from_url(URL)
    for _ in range(count):
        task.apply_async(args)
    begun = worker(2)
    deadline = time.monotonic() + TIMEOUT
    try:
        first = None
        while time.monotonic() < deadline:
            waiting, leased = server.llen("celery"), server.hlen("unacked")
            now = time.monotonic()
            if first is None and waiting < count:
                first = now
                left = waiting + leased
            if waiting == leased == 0:
                break
            time.sleep(0.002)
        else:
            raise SystemExit(f"{SYSTEM}: {waiting} of {count} tasks left after {TIMEOUT} s")
    finally:
        stop(begun)
    return left / (now - first)


def delay(count: int) -> float:
    """Return ``delay()`` calls per second, one by one."""
    noop.delay()
    begun = time.perf_counter()
    for _ in range(count):
        noop.delay()
    return count / (time.perf_counter() - begun)


def round_trip(count: int) -> float:
    """Return the median of ``add.delay(2, 2).get()`` on an idle worker, milliseconds."""
    running = worker(2)
    try:
        for _ in range(20):
            add.delay(2, 2).get(timeout=60)
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            add.delay(2, 2).get(timeout=60)
            times.append(time.perf_counter() - begun)
    finally:
        stop(running)
    return sorted(times)[count // 2] * 1000


def main() -> None:
    """Measure once."""
    what, count = sys.argv[1], int(sys.argv[2])
    redis.Redis.from_url(URL).flushdb()
    value = {
        "noop": lambda: throughput(noop, (), count),
        "results": lambda: throughput(add, (2, 2), count),
        "delay": lambda: delay(count),
        "round_trip": lambda: round_trip(count),
    }[what]()
    redis.Redis.from_url(URL).flushdb()
    print(json.dumps({"system": SYSTEM, "what": what, "value": value, "pid": os.getpid()}))


main()
