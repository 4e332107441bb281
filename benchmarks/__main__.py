"""``make bench``: run every measurement for celeriac and Celery in turn, print the ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys

#: what -> (title, unit, tasks for celeriac, tasks for Celery, more is better, what we promise)
FIGURES: dict[str, tuple[str, str, int, int, bool, float | None]] = {
    "noop": ("no-op tasks, 2 worker processes", "tasks/s", 20000, 3000, True, 10.0),
    "results": ("with results, 2 worker processes", "tasks/s", 20000, 3000, True, None),
    "delay": ("delay(), one by one", "calls/s", 3000, 1500, True, 3.0),
    "round_trip": ("idle round trip, p50", "ms", 200, 200, False, 0.5),
}
#: command -> the limit we promise, milliseconds of CPU
STARTUP = {
    "import celeriac": ([sys.executable, "-c", "import celeriac"], 60.0),
    "celeriac --help": ([sys.executable, "-m", "celeriac", "--help"], 150.0),
}


def measure(system: str, what: str, count: int, url: str) -> float:
    """Run one measurement in a fresh process."""
    env = {**os.environ, "BENCH_SYSTEM": system, "BENCH_BROKER": url}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", what, str(count)],
        env=env,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1])["value"])


def cpu(command: list[str]) -> float:
    """Return the CPU time of ``command``, less that of an empty interpreter, milliseconds."""

    def spent(args: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(args, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000

    return max(0.0, spent(command) - spent([sys.executable, "-c", "pass"]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--repeat", type=int, default=5, help="runs per figure and system")
    parser.add_argument("--only", choices=[*FIGURES, "startup"], action="append")
    parser.add_argument("--broker", default=os.environ.get("BENCH_BROKER"))
    options = parser.parse_args()
    url = options.broker or "redis://127.0.0.1:6379/9"
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {url}, "
        f"medians of {options.repeat}, celeriac and Celery in turn\n"
    )
    print(f"{'figure':<48}{'celeriac':>12}{'Celery':>12}{'ratio':>9}  {'promised':<10}")
    for what, (title, unit, ours, theirs, more, promise) in FIGURES.items():
        if options.only and what not in options.only:
            continue
        values: dict[str, list[float]] = {"celeriac": [], "celery": []}
        for _ in range(options.repeat):
            values["celery"].append(measure("celery", what, theirs, url))
            values["celeriac"].append(measure("celeriac", what, ours, url))
        mine, other = (statistics.median(values[name]) for name in ("celeriac", "celery"))
        promised = "" if promise is None else f"{'>=' if more else '<='} {promise:g}x"
        name = f"{title} ({unit})"
        print(f"{name:<48}{mine:>12,.4g}{other:>12,.4g}{mine / other:>8.2f}x  {promised}")
        print(f"{'':<48}{_spread(values['celeriac']):>24}{_spread(values['celery']):>24}")
    if not options.only or "startup" in options.only:
        for title, (command, limit) in STARTUP.items():
            value = statistics.median(cpu(command) for _ in range(max(5, options.repeat)))
            print(f"{f'{title} (ms of CPU)':<48}{value:>12,.4g}{'':>21}  < {limit:g}")


def _spread(values: list[float]) -> str:
    return f"{min(values):,.4g} to {max(values):,.4g}"


main()
