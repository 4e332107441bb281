"""Make a virtual environment of this checkout, or bring it up to date.

    python setup.py demo|dev|drop-in|interop

Runs on a bare Python: standard library only.  An environment that is up to date costs a few
milliseconds: a stamp in it holds a digest of all that its contents depend on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = (ROOT / "pyproject.toml", ROOT / "drop-in" / "pyproject.toml")

#: name -> (directory, what pip installs from this checkout, dependency group)
ENVIRONMENTS: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "demo": (".venv", ("-e", "."), None),
    "dev": (".venv", ("-e", ".[redis]"), "dev"),
    "drop-in": (".venv-drop-in", ("-e", ".[redis]", "-e", "./drop-in"), "drop-in"),
    "interop": (".venv-interop", ("-e", ".[redis]"), "interop"),
}
#: What satisfies a need: whoever has the development environment needs no other for the demo.
SATISFIED_BY = {"demo": ("demo", "dev")}


def main() -> int:
    """Bring the environment named on the command line up to date."""
    name = sys.argv[1]
    directory, installed, group = ENVIRONMENTS[name]
    venv = ROOT / directory
    python = venv / "bin" / "python"
    if current(venv, name):
        return 0
    if not usable(venv):
        say(f"making {directory} with Python {sys.version.split()[0]}")
        make(venv)
    for stamp in venv.glob(".stamp-*"):
        stamp.unlink()
    say(f"installing into {directory} (the first time this takes a minute)")
    requirements = requirements_of(group) if group else []
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *installed, *requirements], cwd=ROOT, check=False)
    if done.returncode:
        print(f"error: pip could not install into {directory}; see its message above")
        print("  hint: a package index must be reachable; `make clean` removes half-made things")
        return done.returncode
    (venv / f".stamp-{name}").write_text(digest(venv))
    return 0


def say(line: str) -> None:
    """Print a line about the progress."""
    print(f"-- {line}", flush=True)


def current(venv: Path, name: str) -> bool:
    """Tell whether a stamp says that the environment holds what ``name`` needs."""
    stamps = [venv / f".stamp-{other}" for other in SATISFIED_BY.get(name, (name,))]
    wanted = digest(venv)
    done = any(stamp.exists() and stamp.read_text() == wanted for stamp in stamps)
    return done and chosen(venv)


def digest(venv: Path) -> str:
    """Digest what an environment depends on: where it is, its Python, what it is to hold."""
    seen = hashlib.sha256(str(ROOT).encode())
    for path in (*PROJECTS, Path(__file__), venv / "pyvenv.cfg"):
        seen.update(path.read_bytes() if path.exists() else b"-")
    return seen.hexdigest()


def chosen(venv: Path) -> bool:
    """Tell whether the environment is of the Python asked for by hand, if one was."""
    config = venv / "pyvenv.cfg"
    made_by = config.read_text() if config.exists() else ""
    version = ".".join(map(str, sys.version_info[:3]))
    return not os.environ.get("PYTHON") or f"version = {version}\n" in made_by


def usable(venv: Path) -> bool:
    """Tell whether there is an environment with a pip, made by the Python asked for."""
    ask = [str(venv / "bin" / "python"), "-c", "import pip"]
    try:
        works = subprocess.run(ask, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
    return works and chosen(venv)


def make(venv: Path) -> None:
    """Make an empty environment with pip in it.

    Raises:
        SystemExit: this Python cannot; the message names the cure.
    """
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    if not can_make():
        install_venv()
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: {' '.join(command)} failed; see its message above")


def can_make() -> bool:
    """Tell whether this Python brings venv and ensurepip; Debian packs them apart."""
    ask = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(ask, capture_output=True, check=False).returncode == 0


def install_venv() -> None:
    """Install what Debian leaves out of its python3, when we may.

    Raises:
        SystemExit: it is for the user to do.
    """
    package = f"python3.{sys.version_info.minor}-venv"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(
            f"error: {sys.executable} cannot make virtual environments (no ensurepip)\n"
            f"  hint: sudo apt install {package}, or choose another one: make PYTHON=..."
        )
    say(f"installing {package}")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environ, check=False)
    subprocess.run(["apt-get", "install", "-y", "-qq", package], env=environ, check=True)


def requirements_of(group: str) -> list[str]:
    """Return a dependency group of pyproject.toml, which older pips cannot install by name.

    The project itself is left out: it is installed from the checkout, and older pips would look
    for it in the index all the same.
    """
    with PROJECTS[0].open("rb") as file:
        entries: list[str | dict[str, str]] = tomllib.load(file)["dependency-groups"][group]
    found: list[str] = []
    for entry in entries:
        if not isinstance(entry, str):
            found += requirements_of(entry["include-group"])
        elif not entry.startswith("celeriac"):
            found.append(entry)
    return found


if __name__ == "__main__":
    sys.exit(main())
