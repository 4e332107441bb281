"""The broker contract: dead letters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celeriac.message import DeadLetter
from celeriac.testing.contracts.process import (
    BrokerCase,
    Process,
    dead,
    ids,
    outgoing,
    release,
)
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable


class DeadLetterContract(BrokerCase):
    """What will not be run is kept, shown, replayed, forgotten."""

    def test_dead(self, process: Process, queue: str) -> None:
        """DEAD moves the message to the dead letters, with reason, detail and counts."""
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        before = time.time()
        completion = dead(delivery, "poison", detail="killed by 9", deaths=3, losses=1)
        assert process.settle(completion) == [True]
        (letter,) = process.broker.dead_letters()
        assert before - 1 <= letter.died <= time.time() + 1
        assert letter == DeadLetter(
            id=ids([delivery])[0],
            task="contract.add",
            queue=queue,
            reason="poison",
            detail="killed by 9",
            died=letter.died,
            deaths=3,
            losses=1,
            raw=delivery.raw,
        )
        assert process.broker.dead_letter(letter.id) == letter
        assert process.is_empty()

    def test_dead_with_follow_ups(self, process: Process, queue: str) -> None:
        """Error callbacks go out with the burial."""
        process.broker.publish([outgoing(queue)])
        errback = outgoing(queue)
        assert process.settle(dead(process.take_one(), publish=[errback])) == [True]
        assert ids(process.take(1)) == ids([errback])

    def test_unknown(self, process: Process) -> None:
        """Unknown ids are None, or not found, and no error."""
        assert process.broker.dead_letter("nobody") is None
        assert process.broker.replay(["nobody"]) == []
        assert process.broker.forget_dead(["nobody"]) == 0
        assert process.broker.dead_letters() == []

    def test_latest_first(self, process: Process, queue: str) -> None:
        """Return dead letters, the latest first, in pages."""
        process.broker.publish([outgoing(queue) for _ in range(5)])
        died = []
        for delivery in process.take(5):
            process.settle(dead(delivery))
            died += ids([delivery])
        latest = died[::-1]

        def page(limit: int, offset: int = 0) -> list[str]:
            return [letter.id for letter in process.broker.dead_letters(limit, offset)]

        assert page(100) == latest
        assert page(2) == latest[:2]
        assert page(2, 2) == latest[2:4]
        assert page(2, 5) == []

    def test_replay(self, process: Process, queue: str) -> None:
        """A replay puts them back with their counts at zero and returns those found."""
        process.broker.publish([outgoing(queue), outgoing(queue)])
        process.settle(*(release(item, deaths=2, losses=3) for item in process.take(2)))
        one, two = process.take(2)
        process.settle(dead(one, deaths=3, losses=3), dead(two))
        (key,) = ids([one])
        assert process.broker.replay([key, "nobody"]) == [key]
        assert process.broker.replay([key]) == []
        assert process.broker.dead_letter(key) is None
        again = process.take_one()
        assert ids([again]) == [key]
        assert (again.deaths, again.losses, again.started) == (0, 0, False)
        assert again.message is not None
        assert one.message is not None
        assert again.message.body == one.message.body
        assert process.is_empty()
        assert [letter.id for letter in process.broker.dead_letters()] == ids([two])

    def test_a_replayed_message_can_die_again(self, process: Process, queue: str) -> None:
        """Replay and burial can be repeated."""
        process.broker.publish([outgoing(queue)])
        (key,) = ids([delivery := process.take_one()])
        for round_ in range(3):
            process.settle(dead(delivery, detail=str(round_)))
            (letter,) = process.broker.dead_letters()
            assert (letter.id, letter.detail) == (key, str(round_))
            assert process.broker.replay([key]) == [key]
            delivery = process.take_one()

    def test_forget(self, process: Process, queue: str) -> None:
        """Delete these dead letters, or all; return how many there were."""
        process.broker.publish([outgoing(queue) for _ in range(4)])
        taken = process.take(4)
        process.settle(*map(dead, taken))
        assert process.broker.forget_dead([*ids(taken[:1]), "nobody"]) == 1
        assert process.broker.dead_letter(ids(taken)[0]) is None
        assert process.broker.forget_dead([]) == 0
        assert process.broker.forget_dead() == 3
        assert process.broker.dead_letters() == []

    def test_they_are_kept_for_a_while(self, start: Callable[..., Process], queue: str) -> None:
        """A dead letter is kept for ``dead_letter_ttl`` seconds."""
        process = start(dead_letter_ttl=0.5)
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        process.settle(dead(delivery))
        eventually(lambda: process.broker.dead_letters() == [])
        assert process.broker.dead_letter(ids([delivery])[0]) is None
        assert process.broker.replay(ids([delivery])) == []
        assert process.is_empty()

    def test_the_unreadable_are_kept_too(
        self, process: Process, inject_raw: Callable[[str, bytes], None], queue: str
    ) -> None:
        """An unreadable message gets an id of its own and keeps its bytes."""
        garbage = [b"\xff\x00 garbage", b"null"]
        for raw in garbage:
            inject_raw(queue, raw)
        taken = process.take(2)
        process.settle(*(dead(one, "undecodable", detail=one.problem or "") for one in taken))
        letters = process.broker.dead_letters()
        assert sorted(letter.raw for letter in letters) == sorted(garbage)
        assert all(letter.id and letter.reason == "undecodable" for letter in letters)
        assert letters[0].id != letters[1].id
        for letter in letters:
            assert process.broker.replay([letter.id]) == [letter.id]
        again = process.take(2)
        assert sorted(one.raw for one in again) == sorted(garbage)
        assert all(one.problem for one in again)

    def test_the_unreadable_can_be_released_and_adopted(
        self,
        process: Process,
        start: Callable[..., Process],
        inject_raw: Callable[[str, bytes], None],
        queue: str,
    ) -> None:
        """What cannot be read is a message like any other until it is buried."""
        inject_raw(queue, b"garbage")
        assert process.settle(release(process.take_one(), deaths=1)) == [True]
        held = process.take_one()
        assert held.raw == b"garbage"
        survivor = start()
        (adopted,) = survivor.broker.adopt(process.id, survivor.id)
        assert adopted.raw == b"garbage"
        assert adopted.problem
        assert survivor.settle(dead(adopted, "undecodable")) == [True]
        assert len(survivor.broker.dead_letters()) == 1
