from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celeriac.engine.sqlite.location import Location, network_file_system, parse
from celeriac.engine.sqlite.setting import Settings, settings
from celeriac.error import ImproperlyConfigured

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /mnt/nfs nfs4 rw 0 0
//server/share /mnt/smb\\040share cifs rw 0 0
me@host:/ /mnt/nfs/inner fuse.sshfs rw 0 0
/dev/vdb /mnt/nfs/local ext4 rw 0 0
tmpfs /mnt/hidden tmpfs rw 0 0
share /mnt/hidden 9p rw 0 0
"""


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://", "celeriac.db"),
        ("sqlite:///", "celeriac.db"),
        ("sqlite:///queue.db", "queue.db"),
        ("sqlite:///sub/queue.db", "sub/queue.db"),
        ("sqlite:///a%20b.db", "a b.db"),
    ],
)
def test_relative(url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    location, options = parse(url)
    assert location == Location(f"{tmp_path}/{path}")
    assert options == {}
    monkeypatch.chdir("/")
    assert parse(location.display)[0] == location


def test_absolute() -> None:
    location, options = parse("sqlite:////var/lib/queue.db?synchronous=NORMAL&wal_limit=16")
    assert location.path == "/var/lib/queue.db"
    assert location.display == "sqlite:////var/lib/queue.db"
    assert settings("sqlite://", options) == Settings("NORMAL", 16, 32)


def test_symbolic_links_name_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert parse(f"sqlite:///{tmp_path}/link/q.db")[0] == parse(f"sqlite:///{tmp_path}/q.db")[0]


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("sqlite://queue.db", "sqlite:///queue.db"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:////tmp", "directory"),
    ],
)
def test_malformed(url: str, cure: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=cure):
        parse(url)


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/home/me", None),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/sub", "nfs4"),
        ("/mnt/nfsx", None),
        ("/mnt/smb share/x", "cifs"),
        ("/mnt/nfs/inner", "fuse.sshfs"),
        ("/mnt/nfs/local/x", None),
        ("/mnt/hidden", "9p"),
    ],
)
def test_network_file_systems(directory: str, kind: str | None) -> None:
    assert network_file_system(directory, MOUNTS) == kind


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"sychronous": "FULL"}, 'did you mean "synchronous"'),
        ({"synchronous": "OFF"}, "FULL or NORMAL"),
        ({"wal_limit": 0}, "wal_limit"),
        ({"wal_limit": 8, "ballast": 4}, "more than wal_limit"),
        ({"ballast": "much"}, "float"),
    ],
)
def test_impossible_options(given: dict[str, object], cure: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=cure):
        settings("sqlite://", given)


def test_options() -> None:
    assert settings("sqlite://", {"synchronous": "normal"}).synchronous == "NORMAL"
    assert settings("sqlite://", {"wal_limit": 8, "ballast": 0}).ballast == 0
