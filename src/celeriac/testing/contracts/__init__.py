"""The contracts of the ports as tests, for every adapter, ours or a third party's.

A broker passes when a test class derived from `BrokerContract` passes::

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def make_broker(self, tmp_path):
            return lambda **options: MyBroker(f"my://{tmp_path}", BrokerOptions(**options))

``make_broker`` takes fields of `BrokerOptions` and may be called several times in one test: all
brokers it makes use one space of queues (each stands for a process), which is empty when the test
begins.  What an adapter cannot do is told by its `Capabilities` and skipped with the reason
``capability: ...``.  A result store does the same with `StoreContract` and ``make_store``.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"celeriac.testing.contracts.{name}"
        for name in (
            "broker",
            "concurrency",
            "dead_letter",
            "lease",
            "machine",
            "process",
            "publish",
            "settle",
            "store",
        )
    )
)

from celeriac.testing.contracts.broker import BrokerContract  # noqa: E402 - after the rewrite
from celeriac.testing.contracts.store import StoreContract  # noqa: E402

__all__ = ["BrokerContract", "StoreContract"]
