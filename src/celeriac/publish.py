"""From a call to a message on its way: what `delay` and `send_task` have in common."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec

from celeriac import context, identifier, signal
from celeriac.error import BrokerUnavailable, ImproperlyConfigured, OperationalError, PublishUnknown
from celeriac.identifier import uuid
from celeriac.message import Message, Outgoing
from celeriac.protocol import task as protocol
from celeriac.result import AsyncResult

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.broker.base import Broker
    from celeriac.context import Run
    from celeriac.routing import Destination
    from celeriac.serialization.registry import Serialization
    from celeriac.task import Task

Moment = datetime | float | str | None


class SendOptions(TypedDict, total=False):
    """How a task is sent; every key may be left out.

    At run time other keys are accepted too and become properties of the message.
    """

    countdown: float | timedelta | None
    eta: datetime | str | None
    expires: datetime | float | timedelta | str | None
    queue: Any
    exchange: Any
    routing_key: str | None
    priority: int | None
    serializer: str | None
    headers: Mapping[str, Any] | None
    retries: int
    group_id: str | None
    group_index: int | None
    root_id: str | None
    parent_id: str | None
    ignore_result: bool | None
    time_limit: float | None
    soft_time_limit: float | None
    reply_to: str | None
    origin: str | None
    argsrepr: str | None
    kwargsrepr: str | None
    chain: Sequence[Mapping[str, Any]] | None
    chord: Mapping[str, Any] | None
    stamped_headers: Sequence[str] | None
    replaced_task_nesting: int
    delivery_mode: int | str | None
    add_to_parent: bool
    retry: bool
    retry_policy: Mapping[str, Any] | None
    MessageGroupId: str
    MessageDeduplicationId: str
    DelaySeconds: int


class Template(NamedTuple):
    """What is the same in every message of one task, computed once.

    Attributes:
        app: sends it.
        version: of the settings it was made from.
        broker: takes the messages; None when `eager`.
        eager: nothing is sent, the task runs in the caller.
        serialization: writes the body.
        fields: options as `celeriac.protocol.task.Fields` calls them.
        address: ``queue``, ``exchange`` and ``routing_key`` of the task.
        destination: where it goes; None when that depends on the call.
        priority: of its messages.
        expires: seconds or time, as given for the task.
    """

    app: Celeriac
    version: int
    broker: Broker | None
    eager: bool
    serialization: Serialization
    fields: dict[str, Any]
    address: dict[str, Any]
    destination: Destination | None
    priority: int
    expires: Any


#: Options that go into the message under the name they have.
_PLAIN = frozenset(
    {
        "group_id",
        "group_index",
        "retries",
        "time_limit",
        "soft_time_limit",
        "shadow",
        "argsrepr",
        "kwargsrepr",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "chain",
        "chord",
    }
)
#: Options that go into the message under the name they have, unless they are None.
_UNLESS_NONE = frozenset({"serializer", "root_id", "parent_id", "reply_to", "origin"})
_ADDRESS = ("queue", "exchange", "routing_key")
#: Celery's ways to hand in connections and the like: there is nothing here they could be.
_MEANINGLESS = frozenset(
    {
        "compression",
        "confirm_timeout",
        "connection",
        "declare",
        "event_dispatcher",
        "exchange_type",
        "immediate",
        "mandatory",
        "producer",
        "publisher",
        "result_cls",
        "route_name",
        "router",
        "task_type",
        "timeout",
    }
)


def template(app: Celeriac, name: str, task: Task[Any, Any] | None) -> Template:
    """Return the template of the messages of a task, known here or not.

    Raises:
        ImproperlyConfigured: see `celeriac.routing.Router.route`.
    """
    conf = app.conf
    own: dict[str, Any] = {}
    if task is not None:
        own = {key: getattr(task, key, None) for key in (*_ADDRESS, *_OF_TASK)}
    address = {key: own[key] for key in _ADDRESS if own.get(key) is not None}
    found = app.router.route(name, address, sender=task) if not app.router.dynamic else None
    options: dict[str, Any] = dict(found.options) if found is not None else {}
    options.update((key, own[key]) for key in _OF_TASK if own.get(key) is not None)
    ignore = (
        None if task is None else bool(_or(options.get("ignore_result"), conf.task_ignore_result))
    )
    priority = _or(options.get("priority"), conf.task_default_priority)
    fields = {
        "task": name,
        "ignore_result": ignore,
        "serializer": options.get("serializer") or conf.task_serializer,
        "time_limit": options.get("time_limit"),
        "soft_time_limit": options.get("soft_time_limit"),
        "delivery_mode": _delivery_mode(
            _or(options.get("delivery_mode"), conf.task_default_delivery_mode)
        ),
    }
    return Template(
        app=app,
        version=conf.version,
        broker=None if conf.task_always_eager else app.write_broker,
        eager=conf.task_always_eager,
        serialization=app.serialization,
        fields=fields,
        address=address,
        destination=found,
        priority=priority or 0,
        expires=options.get("expires"),
    )


_OF_TASK = (
    "priority",
    "serializer",
    "time_limit",
    "soft_time_limit",
    "expires",
    "ignore_result",
    "delivery_mode",
)


def dispatch(
    template: Template,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
) -> AsyncResult[Any]:
    """Send one message; see `prepare` and `send`."""
    app, run = template.app, context.current_run()
    if run is not None:
        run = context.running()
    trail, retry, policy = _manner(options) if options else _PLAIN_MANNER
    outgoing = prepare(template, args, kwargs, options, run)
    send(app, outgoing, retry, policy, template.broker)
    result: AsyncResult[Any] = AsyncResult(outgoing.message.id, None, outgoing.message.task, app)
    if run is not None and trail:
        _note_child(run, outgoing, result)
    return result


async def adispatch(
    template: Template,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
) -> AsyncResult[Any]:
    """Do what `dispatch` does without blocking the running event loop."""
    app, run = template.app, context.running()
    trail, retry, policy = _manner(options)
    outgoing = prepare(template, args, kwargs, options, run)
    await asend(app, outgoing, retry, policy, template.broker)
    result: AsyncResult[Any] = AsyncResult(outgoing.message.id, None, outgoing.message.task, app)
    if run is not None and trail:
        _note_child(run, outgoing, result)
    return result


def prepare(
    template: Template,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    run: Run | None = None,
) -> Outgoing:
    """Return the message of a call.

    Args:
        template: of the task.
        args: positional arguments.
        kwargs: keyword arguments.
        options: `SendOptions`, and ``task_id``, ``link``, ``link_error`` and ``shadow``.
        run: the run that sends it.

    Raises:
        EncodeError: an argument cannot be serialized.
        ImproperlyConfigured: an option is wrong.
    """
    fields = dict(template.fields)
    fields["id"] = options.pop("task_id", None) or uuid()
    fields["args"], fields["kwargs"] = args, kwargs
    if _sender.pid != os.getpid():
        _sender.learn()
    fields["origin"], fields["reply_to"] = _sender.origin, _sender.oid
    if run is not None:
        fields["parent_id"] = run.request.id
        fields["root_id"] = run.request.root_id or run.request.id
    destination, priority, due = template.destination, template.priority, None
    if options or template.expires is not None:
        due = _schedule(fields, template, options)
        asked = _take(options, _ADDRESS)
        if asked:
            destination = _route(template, {**template.address, **asked}, args, kwargs)
        priority = _or(options.pop("priority", None), priority)
        _fill(fields, options)
    if destination is None:
        destination = _route(template, template.address, args, kwargs)
        priority = _or(destination.options.get("priority"), priority)
    message = protocol.build(protocol.Fields(**fields), template.serialization)
    if signal.before_task_publish.receivers:
        message = _announce(template.app, message, fields, destination)
    return Outgoing(
        message, destination.queue, destination.exchange, destination.routing_key, priority, due
    )


def send(
    app: Celeriac,
    outgoing: Outgoing,
    retry: bool | None = None,
    policy: Any = None,
    broker: Broker | None = None,
) -> None:
    """Hand a message to the broker; return once it is there.

    Args:
        app: whose broker it is.
        outgoing: what to send.
        retry: try again when the broker cannot be reached; None: ``task_publish_retry``.
        policy: instead of parts of ``task_publish_retry_policy``.
        broker: the broker of ``app`` that messages are sent to, where the caller has it at hand.

    Raises:
        BrokerUnavailable: it was not sent, within ``publish_timeout``.
        PublishUnknown: it may have been sent; sending it again with the same ``task_id`` soon, from
            this process, first looks whether it was.
        PublishRejected, BrokerRefused: it was not sent, and won't be.
    """
    begun = time.monotonic()
    broker = broker or app.write_broker
    pauses: Iterator[float] | None = None
    while True:
        try:
            broker.publish((outgoing,))
            break
        except PublishUnknown as error:
            # Only who sends can know whether a second run would do harm.
            raise _explain(error, outgoing, broker.display) from error
        except BrokerUnavailable as error:
            if pauses is None:
                pauses = _pauses(app, retry, policy, begun)
            pause = next(pauses, None)
            if pause is None:
                raise _explain(error, outgoing, broker.display) from error
        time.sleep(pause)
    if signal.after_task_publish.receivers:
        _tell_sent(outgoing)


async def asend(
    app: Celeriac,
    outgoing: Outgoing,
    retry: bool | None = None,
    policy: Any = None,
    broker: Broker | None = None,
) -> None:
    """Do what `send` does without blocking the running event loop."""
    begun = time.monotonic()
    broker = broker or app.write_broker
    pauses: Iterator[float] | None = None
    while True:
        try:
            await broker.apublish((outgoing,))
            break
        except PublishUnknown as error:
            # Only who sends can know whether a second run would do harm.
            raise _explain(error, outgoing, broker.display) from error
        except BrokerUnavailable as error:
            if pauses is None:
                pauses = _pauses(app, retry, policy, begun)
            pause = next(pauses, None)
            if pause is None:
                raise _explain(error, outgoing, broker.display) from error
        # Only here: asyncio takes 20 ms to import, and a running loop has it imported already.
        import asyncio

        await asyncio.sleep(pause)
    if signal.after_task_publish.receivers:
        _tell_sent(outgoing)


# -- inside --------------------------------------------------------------------------------


class _Sender:
    """Who this process says it is: kept, but not across a fork."""

    pid = 0
    origin = ""
    oid = ""

    def learn(self) -> None:
        self.origin, self.oid = identifier.origin(), identifier.oid()
        self.pid = os.getpid()


_sender = _Sender()
#: Note the child, and retry as the settings say.
_PLAIN_MANNER: tuple[bool, bool | None, Any] = (True, None, None)


def _manner(options: dict[str, Any]) -> tuple[bool, bool | None, Any]:
    """Take out of the options of a call those that do not concern the message."""
    return (
        options.pop("add_to_parent", True),
        options.pop("retry", None),
        options.pop("retry_policy", None),
    )


def _note_child(run: Run, outgoing: Outgoing, result: AsyncResult[Any]) -> None:
    if run.task.trail and not outgoing.message.headers.get("ignore_result"):
        run.request.children.append(result)


def _schedule(fields: dict[str, Any], template: Template, options: dict[str, Any]) -> float | None:
    """Fill in when the task is due and when it expires; return until when it has to wait."""
    app = template.app
    now = app.clock.time()
    due, expires = _times(app, options, template.expires, now)
    if due is not None:
        fields["eta"] = datetime.fromtimestamp(due, app.timezone)
    if expires is not None:
        fields["expires"] = datetime.fromtimestamp(expires, app.timezone)
        fields["expiration"] = max(0.0, expires - now)
    return due if due is not None and due > now else None


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _take(options: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key in keys if (value := options.pop(key, None)) is not None}


def _route(
    template: Template,
    address: Mapping[str, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Destination:
    app, name = template.app, template.fields["task"]
    return app.router.route(name, address, args, kwargs, app.tasks.get(name))


def _fill(fields: dict[str, Any], options: dict[str, Any]) -> None:
    """Move what is left of the options into the fields of the message."""
    if options.get("compression"):
        raise ImproperlyConfigured("compression is not available in this version of celeriac")
    extra: dict[str, Any] = {}
    for key, value in options.items():
        if key in _PLAIN or (key in _UNLESS_NONE and value is not None):
            fields[key] = value
        elif key in _CONVERTED:
            if value:
                name, convert = _CONVERTED[key]
                fields[name] = convert(value)
        elif key not in _MEANINGLESS and key not in _UNLESS_NONE:
            extra[key] = value
    if extra:
        fields["properties"] = extra


def retry_headers(app: Celeriac, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that the options of `Task.retry` replace, in their wire form."""
    headers: dict[str, Any] = dict(options.get("headers") or {})
    if options.get("expires") is not None:
        _, expires = _times(app, {"expires": options["expires"]}, None, app.clock.time())
        assert expires is not None
        headers["expires"] = datetime.fromtimestamp(expires, app.timezone).isoformat()
    if "time_limit" in options or "soft_time_limit" in options:
        headers["timelimit"] = [options.get("time_limit"), options.get("soft_time_limit")]
    if options.get("shadow"):
        headers["shadow"] = options["shadow"]
    return headers


def signatures(link: Any) -> list[dict[str, Any]]:
    """Return one signature, or several, as the dicts that travel."""
    many = [link] if isinstance(link, Mapping) or not isinstance(link, Iterable) else link
    found = []
    for one in many:
        try:
            found.append(dict(one))
        except (TypeError, ValueError):
            raise TypeError(
                f"link and link_error take signatures, which are dicts with the key 'task', not "
                f"{one!r}"
            ) from None
    return found


def _times(
    app: Celeriac, options: dict[str, Any], default_expires: Any, now: float
) -> tuple[float | None, float | None]:
    """Return the Unix times at which the task is due and at which it expires."""
    countdown, eta = options.pop("countdown", None), options.pop("eta", None)
    due = None
    if countdown is not None:
        due = now + _seconds("countdown", countdown)
    elif eta is not None:
        due = moment(app, "eta", eta)
    expires = options.pop("expires", default_expires)
    if expires is None:
        return due, None
    if isinstance(expires, int | float | timedelta):
        return due, now + _seconds("expires", expires)
    return due, moment(app, "expires", expires)


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float):
        return value
    raise TypeError(f"{name} must be a number of seconds or a timedelta, not {value!r}")


def moment(app: Celeriac, name: str, value: Any) -> float:
    """Return a time as Unix time in seconds; a naive one is in the time zone of the application.

    Raises:
        TypeError: neither a ``datetime`` nor ISO 8601 text.
    """
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a datetime or ISO 8601 text such as "
            f"{datetime.now(UTC).isoformat(timespec='seconds')!r}, not {value!r}"
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=app.timezone)
    return when.timestamp()


def _delivery_mode(value: Any) -> int:
    return {"transient": 1, "persistent": 2}.get(value, value) if value else 2


#: Options that go into the message in another form: option -> field, conversion.
_CONVERTED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "link": ("callbacks", signatures),
    "link_error": ("errbacks", signatures),
    "headers": ("headers", dict),
    "delivery_mode": ("delivery_mode", _delivery_mode),
}


def _announce(
    app: Celeriac, message: Message, fields: dict[str, Any], destination: Destination
) -> Message:
    """Send `before_task_publish`; its receivers may change headers, properties and arguments."""
    fields["args"], fields["kwargs"] = list(fields["args"]), dict(fields["kwargs"])
    embed = {key: fields.get(key) for key in ("callbacks", "errbacks", "chain", "chord")}
    signal.before_task_publish.send(
        sender=message.task,
        body=(fields["args"], fields["kwargs"], embed),
        exchange=destination.exchange,
        routing_key=destination.routing_key,
        declare=[],
        headers=message.headers,
        properties=message.properties,
        retry_policy=app.conf.task_publish_retry_policy,
    )
    again = protocol.build(protocol.Fields(**fields), app.serialization)
    return msgspec.structs.replace(message, body=again.body)


def _tell_sent(outgoing: Outgoing) -> None:
    message = outgoing.message
    signal.after_task_publish.send(
        sender=message.task,
        body=message.body,
        headers=message.headers,
        exchange=outgoing.exchange,
        routing_key=outgoing.routing_key,
    )


def _pauses(app: Celeriac, retry: bool | None, policy: Any, begun: float) -> Iterator[float]:
    """Yield the seconds to wait before each further try."""
    conf = app.conf
    if not _or(retry, conf.task_publish_retry):
        return
    rules = {**conf.task_publish_retry_policy, **(policy or {})}
    limit = rules.get("max_retries")
    pause = float(rules.get("interval_start") or 0)
    deadline = begun + conf.publish_timeout
    tries = 0
    while (limit is None or tries < limit) and time.monotonic() + pause < deadline:
        yield pause
        tries += 1
        step = float(rules.get("interval_step") or 0)
        pause = min(pause + step, float(rules.get("interval_max") or 0))


def _explain(
    error: BrokerUnavailable | PublishUnknown, outgoing: Outgoing, display: str
) -> OperationalError:
    message = outgoing.message
    what = f"task {message.task}[{message.id}]"
    if isinstance(error, PublishUnknown):
        return PublishUnknown(
            f"{what} may or may not have reached the broker {display}: {error}; look for its "
            "result, or send it again with the same task_id"
        )
    return BrokerUnavailable(
        f"{what} was not sent, the broker {display} cannot be reached: {error}; "
        "start it, or correct broker_url"
    )
