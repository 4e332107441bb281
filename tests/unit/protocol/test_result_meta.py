"""Result metas beyond what Celery was seen to write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.error import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    LimitExceeded,
    SecurityError,
)
from celeriac.protocol import result_meta
from celeriac.protocol.result_meta import ResultMeta
from celeriac.serialization.registry import Serialization

JSON = Serialization()


def payload(**fields: Any) -> bytes:
    return json.dumps({"status": "SUCCESS", "result": 1, "task_id": "1", **fields}).encode()


def test_the_order_of_the_keys() -> None:
    meta = ResultMeta(
        "1", "SUCCESS", 5, group_id="g", parent_id="p", extended={"name": "t", "retries": 0}
    )
    assert list(json.loads(result_meta.encode(meta, JSON))) == [
        "status",
        "result",
        "traceback",
        "children",
        "date_done",
        "group_id",
        "parent_id",
        "name",
        "retries",
        "task_id",
    ]
    assert result_meta.decode(result_meta.encode(meta, JSON), JSON) == meta


def test_an_exception_travels_with_its_readable_parts() -> None:
    meta = ResultMeta("1", "FAILURE", ValueError("a", {1}))
    back = result_meta.decode(result_meta.encode(meta, JSON), JSON)
    assert isinstance(back.result, ValueError)
    assert back.result.args == ("a", "{1}")


def test_an_exception_returned_as_a_value_stays_data() -> None:
    fields = {"exc_type": "system", "exc_message": ["x"], "exc_module": "os"}
    assert result_meta.decode(payload(result=fields), JSON).result == fields


def test_a_failure_that_is_no_exception_is_kept_as_it_is() -> None:
    assert result_meta.decode(payload(status="FAILURE", result="why"), JSON).result == "why"


def test_a_result_that_names_a_function_is_refused() -> None:
    fields = {"exc_type": "system", "exc_message": ["x"], "exc_module": "os"}
    with pytest.raises(SecurityError):
        result_meta.decode(payload(status="FAILURE", result=fields), JSON)


def test_a_result_that_cannot_be_written_is_named() -> None:
    with pytest.raises(EncodeError, match=r"\['result'\]\['a'\] .*set"):
        result_meta.encode(ResultMeta("1", "SUCCESS", {"a": {1}}), JSON)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"status": "SUCCESS"}',
        b'{"task_id": "1"}',
        payload(status=None),
        payload(task_id=5),
        payload(traceback=[]),
        payload(children={}),
        payload(date_done=5),
        payload(group_id=[]),
        payload(parent_id=1),
        b"\x00celery-compressed\x00application/x-gzip\x00x",
    ],
)
def test_what_is_no_result_meta_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        result_meta.decode(data, JSON)


def test_limits_and_the_accept_list_hold_for_results_too() -> None:
    with pytest.raises(LimitExceeded):
        result_meta.decode(payload(), Serialization(max_bytes=10))
    with pytest.raises(ContentDisallowed):
        result_meta.decode(payload(), Serialization(accept=()))


@given(
    st.dictionaries(
        st.sampled_from(["status", "task_id", "result", "children", "exc_type", "x"]),
        st.sampled_from(
            ["FAILURE", "SUCCESS", 1, None, [], {}, {"exc_type": 1}, {"exc_type": "x"}]
        ),
    )
)
def test_arbitrary_objects_raise_nothing_but_decode_errors(fields: dict[str, Any]) -> None:
    try:
        meta = result_meta.decode(json.dumps(fields).encode(), JSON)
    except DecodeError:
        return
    assert (meta.id, meta.state) == (fields["task_id"], fields["status"])
