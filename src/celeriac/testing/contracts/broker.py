"""The contract of `celeriac.broker.base.Broker`."""

from __future__ import annotations

from celeriac.testing.contracts.concurrency import ConcurrencyContract
from celeriac.testing.contracts.dead_letter import DeadLetterContract
from celeriac.testing.contracts.lease import LeaseContract
from celeriac.testing.contracts.machine import MachineContract
from celeriac.testing.contracts.publish import PublishContract
from celeriac.testing.contracts.settle import SettleContract


class BrokerContract(
    PublishContract,
    SettleContract,
    LeaseContract,
    DeadLetterContract,
    ConcurrencyContract,
    MachineContract,
):
    """Every sentence of the broker port as a test; see `celeriac.testing.contracts`."""
