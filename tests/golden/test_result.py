"""Result metas and exceptions against texts recorded from Celery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from celeriac import error
from celeriac.error import DecodeError
from celeriac.protocol import exception, result_meta
from celeriac.serialization.registry import Serialization

SAMPLES = json.loads(Path(__file__).with_name("wire_samples.json").read_text())
JSON = Serialization()


@pytest.mark.parametrize("name", SAMPLES["results"])
def test_result_metas_are_read_and_written_byte_for_byte(name: str) -> None:
    payload = SAMPLES["results"][name].encode()
    meta = result_meta.decode(payload, JSON)
    assert result_meta.encode(meta, JSON) == payload
    if meta.state in ("FAILURE", "RETRY", "REVOKED"):
        assert isinstance(meta.result, Exception)


def test_extended_fields_keep_their_order() -> None:
    meta = result_meta.decode(SAMPLES["results"]["extended"].encode(), JSON)
    assert list(meta.extended) == [
        "name",
        "args",
        "kwargs",
        "worker",
        "retries",
        "queue",
        "stamped_headers",
        "s",
    ]


def test_a_compressed_result_is_an_error_that_names_the_setting() -> None:
    payload = bytes.fromhex(SAMPLES["compressed_result_head_hex"])
    with pytest.raises(DecodeError, match="result_compression"):
        result_meta.decode(payload, JSON)


class Outer:
    class Inner(Exception):
        __module__ = "__main__"


class Unser(Exception):
    __module__ = "__main__"


class Opaque:
    def __repr__(self) -> str:
        return SAMPLES["exceptions"]["unserializable_arg"]["exc_message"][0]


RAISED: dict[str, BaseException] = {
    "builtin": ValueError("a", 1),
    "nested_qualname": Outer.Inner("x"),
    "unserializable_arg": Unser(Opaque()),
    "no_args": KeyError(),
    "retry": error.Retry(None, ValueError("z"), 3),
    "worker_lost": error.WorkerLostError("lost"),
    "timelimit": error.TimeLimitExceeded(5),
    "softtl": error.SoftTimeLimitExceeded(),
    "oserror": FileNotFoundError(2, "nope"),
    "chord": error.ChordError("Dependency x raised y"),
    "maxretries": error.MaxRetriesExceededError("Can't retry"),
}


@pytest.mark.parametrize("name", SAMPLES["exceptions"])
def test_exceptions_are_written_as_celery_writes_them(name: str) -> None:
    assert exception.dump(RAISED[name], JSON.encodable) == SAMPLES["exceptions"][name]


@pytest.mark.parametrize("name", SAMPLES["exceptions"])
def test_exceptions_come_back_as_what_they_were(name: str) -> None:
    fields: dict[str, Any] = SAMPLES["exceptions"][name]
    loaded = exception.load(fields)
    raised = RAISED[name]
    assert type(loaded).__name__ == type(raised).__name__
    assert type(loaded).__module__ in (type(raised).__module__, "__main__")
    if fields["exc_module"] != "__main__":
        assert type(loaded) is type(raised)
    if name != "retry":
        assert list(loaded.args) == fields["exc_message"]
