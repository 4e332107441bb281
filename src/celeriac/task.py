"""Tasks: plain typed objects around a function."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    ParamSpec,
    TypeVar,
    Unpack,
    cast,
)

from celeriac import argument, context, current, eager, option, publish, result
from celeriac.context import Context
from celeriac.error import (
    MaxRetriesExceededError,
    OperationalError,
    Retry,
)
from celeriac.message import Outgoing, ResultRecord
from celeriac.option import TaskOptions
from celeriac.protocol import result_meta
from celeriac.protocol import task as protocol
from celeriac.state import PENDING, READY_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from celeriac.app import Celeriac
    from celeriac.publish import SendOptions, Template

__all__ = ["Task", "TaskOptions"]

P = ParamSpec("P")
R = TypeVar("R")


_HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


class Task(Generic[P, R]):
    """A function that can be run by a worker.

    Made by ``@app.task``, or by subclassing with a ``run`` method and ``app.register_task``.
    Class attributes are the defaults of its options; an option that is None follows the setting of
    the same name.
    """

    name: str = ""
    is_async: bool = False
    abstract = True
    typing: bool | None = None

    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    compression: str | None = None
    default_retry_delay: float = 180
    delivery_mode: int | str | None = None
    exchange: Any = None
    expires: datetime | float | timedelta | None = None
    ignore_result: bool | None = None
    max_deaths: int | None = None
    max_losses: int | None = None
    max_retries: int | None = 3
    priority: int | None = None
    queue: Any = None
    rate_limit: str | float | None = None
    reject_on_worker_lost: bool | None = None
    resultrepr_maxsize: int = 1024
    routing_key: str | None = None
    send_events: bool = True
    serializer: str | None = None
    soft_time_limit: float | None = None
    store_eager_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    throws: Collection[type[BaseException]] = ()
    time_limit: float | None = None
    track_started: bool | None = None
    trail: bool = True

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    # Which hooks are overridden, so that a run pays only for those.
    has_before_start = False
    has_on_success = False
    has_on_failure = False
    has_on_retry = False
    has_after_return = False

    #: The body.  A function given to the decorator, or the method of a subclass.
    run: Callable[..., Any]

    _app: Celeriac | None = None
    # What was computed from the attributes and the settings; `__setattr__` drops it.
    _arity: tuple[int, int] | None = None
    _template: Template | None = None
    _options: tuple[Celeriac, int, TaskOptions] | None = None
    #: What the decorator was given, so that applications can make their own of a shared task.
    __wrapped__: Callable[..., Any]
    _definition: tuple[Callable[..., Any], type[Task[Any, Any]], bool, dict[str, Any]]
    #: The shared task that this one was made of.
    _origin: Task[Any, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for hook in _HOOKS:
            setattr(cls, f"has_{hook}", getattr(cls, hook) is not getattr(Task, hook))
        run = cls.__dict__.get("run")
        if run is not None:
            cls.is_async = argument.is_async(run)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if not name.startswith("_"):
            self._template = self._options = None

    # -- who it is -------------------------------------------------------------------------

    @property
    def app(self) -> Celeriac:
        """The application; for a shared task the current one."""
        return self._app or current.get_current_app()

    @app.setter
    def app(self, app: Celeriac) -> None:
        self._app = app

    @property
    def request(self) -> Context:
        """The run this code belongs to; outside of one, an empty `Context`."""
        run = context.current_run()
        while run is not None:
            if run.task is self or run.task._origin is self:
                return run.request
            run = run.outer
        return Context()

    def options(self, app: Celeriac | None = None) -> TaskOptions:
        """Return the options, with the settings of ``app`` filled in."""
        app = app or self.app
        known = self._options
        if known is not None and known[0] is app and known[1] == app.conf.version:
            return known[2]
        options = option.resolve(self, app.conf)
        self._options = (app, app.conf.version, options)
        return options

    # -- calling ---------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here; what a worker calls too."""
        run = context.current_run()
        if run is not None and run.task is self and not run.request.entered:
            run.request.entered = True
            return cast("R", self.run(*args, **kwargs))
        request = Context(args=args, kwargs=kwargs, entered=True)
        if self.is_async:
            return cast("R", _await_directly(self, request))
        token = context.push(self, request)
        try:
            return cast("R", self.run(*args, **kwargs))
        finally:
            context.pop(token)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> result.AsyncResult[R]:
        """Send the task with these arguments: ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> result.AsyncResult[R]:
        """Do what `delay` does without blocking the running event loop."""
        return await self.aapply_async(args, kwargs)

    def apply_async(  # noqa: PLR0917 - Celery's signature
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: object = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Unpack[SendOptions],
    ) -> result.AsyncResult[R]:
        """Send the task.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            task_id: the id; a new one when not given.
            producer: Celery's; ignored.
            link: signature or signatures to call with the result.
            link_error: signature or signatures to call on failure.
            shadow: another name for logs and events.
            options: see `SendOptions`; unknown ones become properties of the message.

        Raises:
            TypeError: the arguments do not fit the function.
            EncodeError: an argument cannot be serialized.
            BrokerUnavailable, PublishUnknown, PublishRejected, BrokerRefused: see
                `celeriac.publish.send`.
        """
        own: dict[str, Any] = cast("dict[str, Any]", options)
        if task_id or link or link_error or shadow:
            own.update(task_id=task_id, link=link, link_error=link_error, shadow=shadow)
        if self._app is None:
            return self._bound().apply_async(args, kwargs, **own)
        args, kwargs = args or (), kwargs or {}
        template = self._message_template(args, kwargs)
        if template.eager:
            args, kwargs = eager.through_wire(self, args, kwargs, own)
            return eager.run(self, args, kwargs, own)
        return publish.dispatch(template, args, kwargs, own)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Unpack[SendOptions],
    ) -> result.AsyncResult[R]:
        """Do what `apply_async` does without blocking the running event loop."""
        own: dict[str, Any] = cast("dict[str, Any]", options)
        if task_id or link or link_error or shadow:
            own.update(task_id=task_id, link=link, link_error=link_error, shadow=shadow)
        if self._app is None:
            return await self._bound().aapply_async(args, kwargs, **own)
        args, kwargs = args or (), kwargs or {}
        template = self._message_template(args, kwargs)
        if template.eager:
            args, kwargs = eager.through_wire(self, args, kwargs, own)
            return eager.run(self, args, kwargs, own)
        return await publish.adispatch(template, args, kwargs, own)

    def apply(  # noqa: PLR0917 - Celery's signature
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: int | None = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> result.EagerResult[R]:
        """Run the task here and now, as a worker would; nothing is sent.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            link: signature or signatures to call with the result.
            link_error: signature or signatures to call on failure.
            task_id: the id; a new one when not given.
            retries: how often it was retried before.
            throw: raise what the task raises; None means ``task_eager_propagates``.
            logfile: for ``request.logfile``.
            loglevel: for ``request.loglevel``.
            headers: for ``request.headers``.
            options: as for `apply_async`.
        """
        own = {
            **options,
            "task_id": task_id,
            "link": link,
            "link_error": link_error,
            "retries": retries or 0,
            "headers": headers,
            "logfile": logfile,
            "loglevel": loglevel,
        }
        return eager.run(self, args or (), kwargs or {}, own, throw)

    # -- in the body -----------------------------------------------------------------------

    def retry(  # noqa: PLR0917 - Celery's signature
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> NoReturn:
        """Ask to be run again, and leave the body.

        The new message is sent together with the acknowledgement of this one.

        Args:
            args: other positional arguments.
            kwargs: other keyword arguments.
            exc: why; raised instead when there were too many retries.
            throw: False: return the `Retry` instead of raising it.
            eta: not before this time.
            countdown: not before so many seconds; ``default_retry_delay`` when not given.
            max_retries: instead of the task's.
            options: as for `apply_async`: ``queue``, ``priority``, ``expires``, ``headers``,
                ``time_limit``, ``soft_time_limit``.

        Raises:
            Retry: this is how the worker learns of it.
            MaxRetriesExceededError: too many retries, and no ``exc`` given.
        """
        request = self.request
        if request.called_directly:
            _reraise(exc or Retry("Task can be retried", None))
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and request.retries >= limit:
            if exc is not None:
                _reraise(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{request.args} "
                f"kwargs:{request.kwargs}",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        following = self._next(request, args, kwargs, eta=eta, countdown=countdown, options=options)
        retry = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=following)
        if throw:
            raise retry
        if isinstance(following, Outgoing):
            request.follow_up(following)
        return retry  # type: ignore[misc]  # only with throw=False

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **_: Any,
    ) -> None:
        """Report a state, such as the progress made.

        Args:
            task_id: the task; this one when not given.
            state: any text; the states of `celeriac.state` mean what they say.
            meta: becomes the ``info`` of the result.

        Raises:
            EncodeError: ``meta`` cannot be serialized.
            StoreUnavailable, StoreRefused: from the store.
        """
        request = self.request
        app = self.app
        if not app.store.enabled:
            return
        name = state or PENDING
        task_id = task_id or request.id
        if task_id is None:
            raise ValueError("update_state() outside of a run needs a task_id")
        done = app.now().isoformat() if name in READY_STATES else None
        report = result_meta.ResultMeta(
            task_id,
            name,
            meta,
            children=request.trail(),
            date_done=done,
            group_id=request.group,
            parent_id=request.parent_id,
        )
        payload = result_meta.encode(report, app.serialization, app.conf.result_serializer)
        app.store.put([ResultRecord(task_id, name, payload, app.conf.result_expires or None)])

    def AsyncResult(self, task_id: str, **_: Any) -> result.AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of the task sent with this id."""
        return result.AsyncResult(task_id, app=self.app, task_name=self.name)

    def add_trail(self, child: Any) -> Any:
        """Note that this run sent a task, of which ``child`` is the result."""
        if self.trail:
            self.request.children.append(child)
        return child

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Begin a run by hand, as tests of task bodies do; end it with `pop_request`."""
        self._pushed().append(context.push(self, Context(*args, **{"entered": True, **kwargs})))

    def pop_request(self) -> None:
        """End the run begun by `push_request`."""
        context.pop(self._pushed().pop())

    # -- hooks -----------------------------------------------------------------------------

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before the body."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called after the body returned."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called when the body asked to be run again."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after the body raised."""

    def after_return(  # noqa: PLR0917 - Celery's signature
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after every run."""

    # -- inside ----------------------------------------------------------------------------

    def _bound(self) -> Task[P, R]:
        """Return what the current application has made of this shared task."""
        return cast("Task[P, R]", current.get_current_app().tasks[self.name])

    def _pushed(self) -> list[Any]:
        tokens: list[Any] = self.__dict__.setdefault("_tokens", [])
        return tokens

    def _message_template(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Template:
        """Return what messages are made from, the arguments checked.

        Raises:
            TypeError: here, not in the worker, when the arguments do not fit.
        """
        app, template = self._app or self.app, self._template
        if template is None or template.version != app.conf.version:
            template = self._template = publish.template(app, self.name, self)
            self._arity = argument.arity(self.run) if self.typing is not False else None
        if self._arity is not None:
            least, most = self._arity
            if kwargs or not least <= len(args) <= most:
                argument.fit(self.name, self.run, args, kwargs)
        return template

    def _next(
        self,
        request: Context,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        *,
        eta: datetime | None,
        countdown: float | None,
        options: dict[str, Any],
    ) -> Outgoing | Context:
        """Return the message of the next run; of an eager one, its request."""
        if request.is_eager:
            return self._next_eager(request, args, kwargs)
        app, message = self.app, request._message
        if message is None:
            raise RuntimeError("retry() needs a run that a worker, or apply(), has begun")
        now = app.clock.time()
        due = now + (countdown or 0) if eta is None else publish.moment(app, "eta", eta)
        headers = {"parent_id": request.id, **publish.retry_headers(app, options)}
        address = {key: options.get(key) for key in ("queue", "exchange", "routing_key")}
        info = request.delivery_info or {}
        if any(address.values()):
            found = app.router.route(self.name, address)
            queue, exchange, key = found.queue, found.exchange, found.routing_key
        else:
            queue, exchange, key = info["queue"], info["exchange"], info["routing_key"]
        priority = options.get("priority", info.get("priority"))
        return Outgoing(
            protocol.retry(
                message,
                app.serialization,
                retries=request.retries + 1,
                eta=datetime.fromtimestamp(due, app.timezone),
                args=args,
                kwargs=kwargs,
                headers=headers,
                serializer=options.get("serializer") or self.options(app).serializer,
            ),
            queue or info["queue"],
            exchange or "",
            key or queue,
            priority if isinstance(priority, int) else 0,
            due if due > now else None,
        )

    def _next_eager(
        self,
        request: Context,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
    ) -> Context:
        following = Context(vars(request))
        following.update(retries=request.retries + 1, entered=False, _children=None, followups=())
        following.args = request.args if args is None else tuple(args)
        following.kwargs = request.kwargs if kwargs is None else dict(kwargs)
        return following

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> Any:
        # A task travels as its name.
        return _by_name, (self.name,)


def _by_name(name: str) -> Task[Any, Any]:
    return current.get_current_app().tasks[name]


async def _await_directly(task: Task[Any, Any], request: Context) -> Any:
    token = context.push(task, request)
    try:
        return await task.run(*request.args, **request.kwargs)
    finally:
        context.pop(token)


def _reraise(error: BaseException) -> NoReturn:
    """Raise ``error`` because of the exception being handled, unless it is that one."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled
