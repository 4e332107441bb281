"""Whatever is wrong is said once and clearly; nobody else suffers and nothing is lost."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from contextlib import suppress

import pytest
import redis

from celeriac import error, state
from celeriac.error import (
    BrokerRefused,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    InvalidTaskError,
    NotRegistered,
    OperationalError,
    PoisonMessage,
    PublishRejected,
)
from celeriac.message import Message, Outgoing
from celeriac.protocol import envelope
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

from .process import HERE

# -- settings ------------------------------------------------------------------------------


@pytest.fixture
def guarded(private_redis, new_site):
    """A place whose password is wrong."""
    server = private_redis(password="correct-horse")
    return new_site(server.url.replace("correct-horse", "battery-staple"))


def one_error(text):
    """Return the only error in the output of a command; neither traceback nor password in it."""
    assert "Traceback" not in text
    assert "battery-staple" not in text
    (line,) = [line for line in text.splitlines() if "error: " in line]
    return line


def test_a_wrong_password_is_told_to_the_sender(guarded):
    with pytest.raises(BrokerRefused, match="check the user and password in the URL") as caught:
        guarded.subject.add.delay(1, 2)
    assert "battery-staple" not in str(caught.value)


def test_a_wrong_password_ends_the_worker(guarded):
    worker = guarded.worker("-c", "1", wait=False)
    assert worker.process.wait(30) == 1
    assert "cannot connect to Redis at redis://:**@127.0.0.1" in one_error(worker.output())
    assert "check the user and password in the URL" in worker.output()


@pytest.mark.parametrize(("url", "near"), [("reddis://h/0", "redis"), ("sqlight:///f", "sqlite")])
def test_an_unknown_scheme_names_the_nearest(new_site, url, near):
    site = new_site(url)
    with pytest.raises(ImproperlyConfigured, match=f'did you mean "{near}://"'):
        site.subject.add.delay(1, 2)
    worker = site.worker("-c", "1", wait=False)
    assert worker.process.wait(30) != 0
    assert "no broker for the URL scheme" in one_error(worker.output())
    assert f'did you mean "{near}://"' in worker.output()


WITHOUT_REDIS = """
import sys
sys.modules["redis"] = None
sys.modules["hiredis"] = None
from celeriac.cli.main import main
sys.exit(main(["-A", "subject", "worker", "-c", "1"]))
"""


def test_a_missing_driver_names_the_extra(new_site):
    site = new_site("redis://127.0.0.1:1/0")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_REDIS],
        cwd=HERE,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert 'pip install "celeriac[redis]"' in done.stderr
    one_error(done.stderr)


# -- calls ---------------------------------------------------------------------------------


def test_what_cannot_be_serialized_is_refused_at_the_caller(site):
    with pytest.raises(EncodeError, match=r"args\[1\]\['deep'\]\[2\]"):
        site.subject.add.delay(1, {"deep": [0, 1, object()]})
    assert site.depth() == (0, 0, 0)


def test_wrong_arguments_are_refused_at_the_caller(site):
    with pytest.raises(TypeError, match="message"):
        site.subject.fail.delay()
    with pytest.raises(TypeError, match="massage"):
        site.subject.fail.delay("x", massage="x")
    assert site.depth() == (0, 0, 0)


def test_a_message_that_is_too_large_is_refused_at_the_caller(site):
    site.configure(max_message_bytes=10_000)
    # The body is too large, or only its envelope is.
    for size, kind in ((20_000, EncodeError), (9_800, PublishRejected)):
        with pytest.raises(kind, match=r"\d bytes .* 10000"):
            site.subject.add.delay("x" * size, 0)
    assert site.depth() == (0, 0, 0)


def test_a_result_that_nobody_knows_is_pending(site):
    result = site.app.AsyncResult("nobody-knows-me")
    assert result.state == state.PENDING
    with pytest.raises(error.TimeoutError):
        result.get(timeout=0.2)


# -- messages that cannot be run -----------------------------------------------------------

FIXED = """
from subject import app

@app.task(name="added")
def added(x, y):
    return x + y
"""


def test_an_unknown_task_is_kept_until_a_worker_knows_it(site):
    first = site.worker("-c", "1")
    result = site.app.send_task("added", (2, 3))
    with pytest.raises(NotRegistered):
        result.get(timeout=30)
    assert result.state == state.FAILURE
    (letter,) = json.loads(site.command("dead", "list", "--json").stdout)
    assert (letter["id"], letter["reason"]) == (result.id, "unknown_task")
    assert letter["detail"] == 'no task named "added"; did you mean "add"?'
    assert site.subject.add.delay(1, 1).get(timeout=30) == 2
    assert first.stop() == 0
    site.module("fixed", FIXED)
    site.worker("-c", "1", "-I", "fixed")
    assert site.command("dead", "replay", result.id).stdout == "replayed 1\n"
    again = site.app.AsyncResult(result.id)
    eventually(lambda: again.state == state.SUCCESS)
    assert again.get(timeout=30) == 5
    assert site.app.broker.dead_letters() == []


def sent(site, message):
    """Put a message of our making into the queue."""
    site.app.broker.publish([Outgoing(message, "celery", routing_key="celery")])


def made(task_id, body, content_type="application/json", encoding="utf-8"):
    headers = {"lang": "py", "task": "add", "id": task_id, "retries": 0}
    properties = {"correlation_id": task_id, "delivery_tag": task_id}
    return Message(task_id, "add", body, content_type, encoding, headers, properties)


DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = {
    "number": (b"42", "undecodable"),
    "null": (b"null", "undecodable"),
    "text": (b'"text"', "undecodable"),
    "two elements": (b"[[1, 2], {}]", "undecodable"),
    "deep": (DEEP, "undecodable"),
    "garbage": (b"\x00\xff\xfe", "undecodable"),
    "keywords": (b"[[1, 2], [3], {}]", "undecodable"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_cannot_be_read_becomes_a_dead_letter(site, kind):
    body, reason = BODIES[kind]
    site.worker("-c", "1")
    sent(site, made("malformed", body))
    others = [site.subject.add.delay(number, 1) for number in range(5)]
    result = site.app.AsyncResult("malformed")
    with pytest.raises((DecodeError, InvalidTaskError)):
        result.get(timeout=30)
    assert site.app.broker.dead_letter("malformed").reason == reason
    assert [one.get(timeout=30) for one in others] == [1, 2, 3, 4, 5]
    assert set(site.ledger.counts(Kind.START)) == {one.id for one in others}


def test_pickled_content_is_refused(site):
    worker = site.worker("-c", "1")
    children = worker.children()
    body = pickle.dumps(((os.getpid(),), {}, {}))
    sent(site, made("pickled", body, "application/x-python-serialize", "binary"))
    with pytest.raises(ContentDisallowed):
        site.app.AsyncResult("pickled").get(timeout=30)
    assert site.app.broker.dead_letter("pickled").reason == "refused"
    assert site.subject.add.delay(1, 1).get(timeout=30) == 2
    assert worker.children() == children


def raw(**changed):
    message = json.loads(envelope.encode(Outgoing(made("raw", b"[[1, 1], {}, {}]"), "celery")))
    return json.dumps({**message, **changed}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\x01garbage",
        b"",
        b"[]",
        b"{}",
        DEEP,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        raw(body="not base64!"),
        raw(body=7),
        raw(headers=[]),
        raw(headers={"task": {}, "id": []}),
        raw(properties=None),
        raw(**{"content-type": ["x"]}),
        raw(**{"content-encoding": "no-such-coding"}),
    ],
    ids=[
        *("garbage", "empty", "list", "object", "deep list", "deep object", "base64", "body"),
        *("headers", "id", "properties", "content type", "content encoding"),
    ],
)
def test_an_envelope_that_cannot_be_read_becomes_a_dead_letter(redis_site, text):
    site = redis_site
    worker = site.worker("-c", "1")
    children = worker.children()
    client = redis.Redis.from_url(site.url)
    client.lpush(site.prefix + "celery", text)
    client.close()
    assert site.subject.add.delay(1, 1).get(timeout=30) == 2
    (letter,) = eventually(site.app.broker.dead_letters)
    assert letter.reason in {"undecodable", "refused", "unknown_task"}
    assert letter.detail
    assert letter.raw == text
    assert site.command("dead", "show", letter.id).returncode == 0
    assert worker.children() == children
    assert site.depth() == (0, 0, 0)


# -- the disk ------------------------------------------------------------------------------


def test_a_directory_that_does_not_exist(new_site, tmp_path):
    site = new_site(f"sqlite:///{tmp_path}/missing/queue.db")
    with pytest.raises(OperationalError, match="its directory does not exist; create it first"):
        site.subject.add.delay(1, 2)
    worker = site.worker("-c", "1", wait=False)
    assert worker.process.wait(30) == 1
    assert "its directory does not exist" in one_error(worker.output())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(path):
    """Leave no room on the disk that a file is on."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return path


def send_until_full(site):
    """Send until the disk is full; return what was accepted."""
    accepted = []
    while True:
        try:
            accepted.append(site.subject.add.delay(len(accepted), 1))
        except PublishRejected as full:
            if "the disk is full; free some space" not in str(full):
                raise
            return accepted


def all_ran_once(site, results):
    eventually(lambda: all(one.state == state.SUCCESS for one in results), timeout=60)
    counts = site.ledger.counts(Kind.START)
    assert set(counts) == {one.id for one in results}
    assert set(counts.values()) == {1}


def test_a_worker_waits_for_room_on_a_full_disk(new_site, small_disk):
    site = new_site(f"sqlite:///{small_disk}/queue.db")
    accepted = [site.subject.add.delay(number, 1) for number in range(10)]
    filler = fill(small_disk / "filler")
    accepted += send_until_full(site)
    worker = site.worker("-c", "1", wait=False)
    eventually(lambda: "the disk is full; free some space. Trying again" in worker.output())
    filler.unlink()
    all_ran_once(site, accepted)
    assert worker.stop() == 0


def test_a_disk_that_fills_up_under_a_worker_costs_nothing(new_site, small_disk):
    site = new_site(f"sqlite:///{small_disk}/queue.db")
    worker = site.worker("-c", "1")
    accepted = [site.subject.add.delay(number, 1) for number in range(10)]
    filler = fill(small_disk / "filler")
    accepted += send_until_full(site)
    # What was accepted is completed while the disk is still full.
    all_ran_once(site, accepted)
    filler.unlink()
    assert site.subject.add.delay(1, 1).get(timeout=60) == 2
    assert worker.stop() == 0


@pytest.fixture
def read_only(tmp_path):
    """A directory, and what makes it read-only and writable again."""
    place = tmp_path / "data"
    place.mkdir()
    if os.geteuid() != 0:
        yield place, lambda allowed: place.chmod(0o755 if allowed else 0o555)
        place.chmod(0o755)
        return
    # Permissions do not stop root, a read-only file system does.
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=False).returncode:
        pytest.skip("this root cannot mount")

    def remount(allowed):
        mode = "remount,rw" if allowed else "remount,ro"
        subprocess.run(["mount", "-o", mode, place], check=True)

    yield place, remount
    subprocess.run(["umount", "-l", place], check=True)


def test_a_database_that_may_not_be_written(new_site, read_only):
    place, allow = read_only
    site = new_site(f"sqlite:///{place}/queue.db")
    kept = site.subject.add.delay(1, 2)
    site.app.close()
    allow(False)
    with pytest.raises(OperationalError, match="change their owner or their permissions"):
        site.subject.add.delay(1, 2)
    worker = site.worker("-c", "1", wait=False)
    assert worker.process.wait(30) == 1
    assert "read-only for this user" in one_error(worker.output())
    site.app.close()
    allow(True)
    worker.start()
    assert kept.get(timeout=30) == 3


# -- two applications on one database ------------------------------------------------------


def test_applications_on_one_database_leave_each_other_alone(new_site, redis_url, tmp_path):
    ours, theirs = (new_site(redis_url, f"{tmp_path.name}:") for _ in range(2))
    for site, queue in ((ours, "ours"), (theirs, "theirs")):
        site.configure(task_default_queue=queue, lease_ttl=2, lease_heartbeat=0.5, recovery_grace=1)
    theirs.module("foreign", FIXED)
    victim = theirs.worker("-c", "1", "-Q", "theirs", "-I", "foreign")
    witness = ours.worker("-c", "1")
    gate = tmp_path / "gate"
    result = ours.app.send_task("gate", (str(gate),), queue="theirs")
    eventually(lambda: theirs.ledger.counts(Kind.START)[result.id])
    unknown = ours.app.send_task("added", (2, 3), queue="theirs")
    victim.kill()
    # Long enough for the other application to take over whatever it believes to be its own.
    probe = ours.app.send_task("nap", (6,))
    assert probe.get(timeout=30) == 6
    assert set(ours.ledger.counts(Kind.START)) == {probe.id}
    assert ours.app.broker.dead_letters() == []
    victim.start()
    gate.touch()
    assert unknown.get(timeout=60) == 5
    assert result.get(timeout=60) == "open"
    assert theirs.ledger.counts(Kind.START)[result.id] == 2
    assert witness.stop() == 0


# -- tasks that misbehave ------------------------------------------------------------------


def is_well(site):
    """Workers still run what is sent."""
    assert site.subject.add.delay(20, 22).get(timeout=60) == 42


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
@pytest.mark.parametrize("task", ["raise_", "araise"])
def test_whatever_a_task_raises_is_its_failure(site, pool, task):
    worker = site.worker("-c", "2", "-P", pool)
    children = worker.children()
    names = list(site.subject.RAISED)
    results = [getattr(site.subject, task).delay(name) for name in names]
    for name, result in zip(names, results, strict=True):
        raised = result.get(timeout=30, propagate=False)
        assert type(raised).__name__ == name
        assert result.state == state.FAILURE
    is_well(site)
    assert worker.children() == children
    assert site.depth() == (0, 0, 0)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("task", ["leave", "segfault"])
def test_a_task_that_ends_its_process_is_poison(site, pool, task):
    worker = site.worker("-c", "1", "-P", pool)
    result = getattr(site.subject, task).delay()
    with pytest.raises(PoisonMessage):
        result.get(timeout=60)
    assert site.app.broker.dead_letter(result.id).reason == "poison"
    how = "exit code 0" if task == "leave" else "signal SIGSEGV"
    assert worker.output().count(f"ended with {how}") == 3
    is_well(site)


def test_a_task_that_closes_the_files_of_its_process_costs_a_child(site):
    """It succeeds where a new connection can still be made, and is poison where none can."""
    worker = site.worker("-c", "1")
    result = site.subject.close_all.delay()
    ended = result.get(timeout=60, propagate=False)
    assert ended is None or type(ended) is PoisonMessage
    eventually(lambda: "A task has closed the files of this process" in worker.output())
    is_well(site)
    assert worker.stop() == 0
    assert site.depth() == (0, 0, 0)


def test_what_cannot_be_stored_is_a_failure(site):
    site.worker("-c", "1")
    result = site.subject.unserialisable.delay()
    with pytest.raises(EncodeError):
        result.get(timeout=30)
    is_well(site)


def test_a_large_result_arrives_whole(site):
    site.worker("-c", "1")
    size = 5 * 1024 * 1024
    assert site.subject.flood.delay(size).get(timeout=60) == "x" * size
    is_well(site)
