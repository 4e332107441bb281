"""Publishing from event loops through a broker that can only block."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from celeriac.error import PublishRejected, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celeriac.message import Outgoing

#: Messages sent by one call of ``publish``; a single caller's batch is never cut.
_MAX_BATCH = 500

#: Seconds for which the idle thread waits for more before it ends.
_LINGER = 2.0


class _Request(NamedTuple):
    batch: Sequence[Outgoing]
    future: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class BatchingPublisher:
    """Sends from any number of event loops through one thread.

    What is asked for while a call is under way is sent together by the next one.  The thread is
    started when needed and ends when idle.

    Args:
        publish: the blocking call; all of a batch or nothing of it, as `Broker.publish`.
    """

    def __init__(self, publish: Callable[[Sequence[Outgoing]], None]) -> None:
        self._publish = publish
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._requests: deque[_Request] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False

    async def publish(self, batch: Sequence[Outgoing]) -> None:
        """Return once ``batch`` is sent.

        Cancelled before the thread takes it up, it is not sent; after that it may have been.

        Raises:
            Exception: what ``publish`` raises; only the callers whose own messages were rejected
                are told so.
        """
        if self._pid != os.getpid():
            self._reset()
        loop = asyncio.get_running_loop()
        request = _Request(batch, loop.create_future(), loop)
        with self._changed:
            self._requests.append(request)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="celeriac-publisher", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        await request.future

    def close(self) -> None:
        """Send what was asked for, and end the thread; the next call starts it again."""
        if self._pid != os.getpid():
            self._reset()
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._closing = False

    def _reset(self) -> None:
        # In the child of a fork there is no thread, and the requests are the parent's.
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._requests = deque()
        self._thread = None
        self._closing = False

    def _run(self) -> None:
        while requests := self._next():
            self._send(requests)

    def _next(self) -> list[_Request]:
        """Wait for requests; return those for one call, none when the thread is to end."""
        with self._changed:
            if not self._requests and not self._closing:
                self._changed.wait(_LINGER)
            taken: list[_Request] = []
            size = 0
            while self._requests and size < _MAX_BATCH:
                request = self._requests.popleft()
                if not request.future.cancelled():
                    taken.append(request)
                    size += len(request.batch)
            if not taken:
                self._thread = None
            return taken

    def _send(self, requests: list[_Request]) -> None:
        error: BaseException | None = None
        try:
            self._publish([outgoing for request in requests for outgoing in request.batch])
        except (PublishRejected, SerializationError) as rejected:
            if len(requests) > 1:
                # Nothing was accepted; find out whose message it was.
                for request in requests:
                    self._send([request])
                return
            error = rejected
        except BaseException as other:  # noqa: BLE001 - it is raised where the caller waits
            error = other
        for request in requests:
            # A loop that was closed meanwhile has nobody left to tell.
            with suppress(RuntimeError):
                request.loop.call_soon_threadsafe(_resolve, request.future, error)


def _resolve(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
