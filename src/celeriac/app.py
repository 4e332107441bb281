"""The application: where settings, tasks, the broker and the store come together."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import threading
from datetime import datetime, tzinfo
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from celeriac import assembly, context, current, decorator, discovery, publish, signal
from celeriac.clock import SYSTEM, Clock
from celeriac.config import Settings
from celeriac.error import ImproperlyConfigured
from celeriac.identifier import oid
from celeriac.registry import TaskRegistry
from celeriac.result import AsyncResult
from celeriac.signal import Signal
from celeriac.task import Task, TaskOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from types import TracebackType

    from celeriac.broker.base import Broker
    from celeriac.decorator import AsyncTask, Decorate, DecorateBound, TaskKeywords
    from celeriac.publish import SendOptions
    from celeriac.routing import Router
    from celeriac.serialization.registry import Serialization
    from celeriac.store.base import Store

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
# Inside the class these names mean its own members.
AnyTask: TypeAlias = Task[Any, Any]
AnyResult: TypeAlias = AsyncResult[Any]

#: The command line, which belongs to a layer above and is therefore looked up by name on first use.
_COMMAND_LINE = "celeriac.cli.main:main"
#: The class of tasks where the application names none.
_TASK = Task


class Celeriac:
    """An application.  Making one opens nothing.

    Args:
        main: the name of the module when it runs as ``__main__``; part of task names then.
        broker: the setting ``broker_url``.
        backend: the setting ``result_backend``.
        include: the setting ``include``: modules the worker imports.
        config_source: a config object, or the name of one; see `config_from_object`.
        namespace: the prefix of the names in the config object.
        task_cls: the class of the tasks, or the name of one.
        set_as_current: make this the current application.
        autofinalize: Celery's; ignored, tasks are never lazy.
        settings: any other settings.

    Raises:
        ImproperlyConfigured: a setting of the wrong kind.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Sequence[str] = (),
        config_source: Any = None,
        namespace: str | None = None,
        task_cls: type[AnyTask] | str | None = None,
        set_as_current: bool = True,
        autofinalize: bool = True,
        **settings: Any,
    ) -> None:
        self.main = main
        self.clock: Clock = SYSTEM
        self.task_cls = task_cls
        self.finalized = False
        self.on_configure = Signal(name="app.on_configure")
        self.on_after_configure = Signal(name="app.on_after_configure", providing_args={"source"})
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")
        given = {"broker_url": broker, "result_backend": backend, "include": include or None}
        settings.update({name: value for name, value in given.items() if value is not None})
        self.conf = Settings(settings, self._configuring, self._configured)
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        self._registry = TaskRegistry(self._adopt)
        self._lock = threading.RLock()
        #: setting -> (version of the settings, URL, adapter)
        self._opened: dict[str, tuple[int, str, Any]] = {}
        self._derived: dict[str, tuple[int, object]] = {}
        self._discoveries: list[Callable[[], object]] = []
        if set_as_current:
            self.set_current()

    # -- settings --------------------------------------------------------------------------

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Take settings from an object, a dict, a module, or the name of one of them.

        It is read when a setting is first needed.

        Args:
            obj: for instance ``"celeryconfig"`` or ``"django.conf:settings"``.
            silent: go without when it cannot be imported; implies ``force``.
            force: read it now.
            namespace: ``"CELERY"`` takes ``CELERY_BROKER_URL`` for ``broker_url``, and ignores
                what does not begin so.

        Raises:
            ImproperlyConfigured: with ``force``: it cannot be read.
        """
        self.conf.load_from(obj, namespace)
        if force or silent:
            try:
                self.conf.load()
            except ImproperlyConfigured:
                if not silent:
                    raise
                self.conf.load_from({}, None)

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> bool:
        """Take settings from the module that an environment variable names.

        Raises:
            ImproperlyConfigured: the variable is not set.
        """
        module = os.environ.get(variable_name)
        if not module:
            if silent:
                return False
            raise ImproperlyConfigured(
                f"the environment variable {variable_name} is not set; it must name the module "
                "with the settings"
            )
        self.config_from_object(module, silent, force)
        return True

    def add_defaults(self, settings: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Set what neither the arguments of the application nor `conf` have set."""
        self.conf.add_defaults(settings() if callable(settings) else settings)

    @property
    def timezone(self) -> tzinfo:
        """The time zone of the setting ``timezone``; UTC when it is not set."""
        return cast("tzinfo", self._derive("timezone", assembly.timezone))

    def now(self) -> datetime:
        """Return the present in the time zone of the application."""
        return datetime.fromtimestamp(self.clock.time(), self.timezone)

    # -- tasks -----------------------------------------------------------------------------

    @overload
    def task(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskKeywords]
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /, **options: Unpack[TaskKeywords]) -> Task[P, R]: ...
    @overload
    def task(self, /, *, bind: Literal[True], **options: Unpack[TaskKeywords]) -> DecorateBound: ...
    @overload
    def task(
        self, /, *, bind: Literal[False] = False, **options: Unpack[TaskKeywords]
    ) -> Decorate: ...
    @overload
    def task(
        self, /, *, base: type[AnyTask] | None, bind: Literal[True], **options: Any
    ) -> DecorateBound: ...
    @overload
    def task(
        self, /, *, base: type[AnyTask] | None, bind: Literal[False] = False, **options: Any
    ) -> Decorate: ...
    def task(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        base: type[AnyTask] | None = None,
        bind: bool = False,
        **options: Any,
    ) -> Any:
        """Make a task of a function; a decorator, with or without arguments.

        Args:
            fn: the function.
            base: the class of the task, instead of `Task`.
            bind: the function gets the task as its first argument.
            options: the attributes of `celeriac.task.Task`, and ``name``.

        Raises:
            TypeError: an option nobody knows.
            AlreadyRegistered: another function has this name.
        """

        def decorate(function: Callable[..., Any]) -> AnyTask:
            own = dict(options)
            name = own.pop("name", None) or self.gen_task_name(
                function.__name__, function.__module__
            )
            task = decorator.make(function, name, base or self.Task, bind, own)
            return self._register(task)

        return decorate if fn is None else decorate(fn)

    def register_task(self, task: T, **options: Any) -> T:
        """Register a class-based task, an instance or a class.

        Raises:
            AlreadyRegistered: another task has this name.
        """
        instance = cast("AnyTask", task() if isinstance(task, type) else task)
        for name, value in options.items():
            setattr(instance, name, value)
        if not instance.name:
            cls = type(instance)
            instance.name = self.gen_task_name(cls.__name__, cls.__module__)
        self._register(instance)
        return cast("T", instance)

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task that is given none."""
        if module == "__main__" and self.main:
            module = self.main
        return f"{module}.{name}"

    @property
    def tasks(self) -> TaskRegistry:
        """The tasks by name, shared ones included."""
        return self._registry

    @property
    def Task(self) -> type[AnyTask]:  # noqa: N802 - Celery's name
        """The class of the tasks of this application."""
        if isinstance(self.task_cls, str):
            self.task_cls = pkgutil.resolve_name(self.task_cls)
        return cast("type[AnyTask]", self.task_cls or _TASK)

    @property
    def current_task(self) -> AnyTask | None:
        """The task whose body is being run here, or None."""
        return context.get_current_task()

    def default_options(self) -> TaskOptions:
        """Return the options of a task that says nothing itself."""
        return self.Task().options(self)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import the modules with tasks, when `import_tasks` is called.

        Args:
            packages: names of packages, or what returns them; None means the installed
                applications of Django.
            related_name: the module of each package that has the tasks; None imports the packages.
            force: import now.
        """
        search = partial(discovery.discover, packages, related_name)
        if force:
            search()
        else:
            self._discoveries.append(search)

    def import_tasks(self) -> None:
        """Import every module with tasks: ``imports``, ``include`` and `autodiscover_tasks`."""
        signal.import_modules.send(sender=self)
        for module in (*self.conf.imports, *self.conf.include):
            importlib.import_module(module)
        while self._discoveries:
            self._discoveries.pop(0)()

    def finalize(self, auto: bool = False) -> None:
        """Take shared tasks over and tell `on_after_finalize`; a second time does nothing."""
        with self._lock:
            if self.finalized:
                return
            self.finalized = True
        self._registry.complete()
        self.on_after_finalize.send(sender=self)

    # -- sending ---------------------------------------------------------------------------

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Unpack[SendOptions],
    ) -> AnyResult:
        """Send a task by its name; it need not be known here.

        Args:
            name: the name of the task.
            args: positional arguments.
            kwargs: keyword arguments.
            task_id: the id; a new one when not given.
            link: signature or signatures to call with the result.
            link_error: signature or signatures to call on failure.
            shadow: another name for logs and events.
            options: as for `Task.apply_async`.

        Raises:
            EncodeError: an argument cannot be serialized.
            OperationalError: see `celeriac.publish.send`.
        """
        own = cast("dict[str, Any]", options)
        if task_id or link or link_error or shadow:
            own.update(task_id=task_id, link=link, link_error=link_error, shadow=shadow)
        template = publish.template(self, name, self.tasks.get(name))
        return publish.dispatch(template, args or (), kwargs or {}, own)

    def AsyncResult(self, task_id: str, **options: Any) -> AnyResult:  # noqa: N802
        """Return the result of the task with this id."""
        return AsyncResult(task_id, **{"app": self, **options})

    # -- broker and store ------------------------------------------------------------------

    @property
    def broker(self) -> Broker:
        """The broker that workers receive from; opened on first use."""
        return cast("Broker", self._open("broker_read_url", assembly.broker))

    @property
    def write_broker(self) -> Broker:
        """The broker that messages are sent to: the same one, unless ``broker_write_url`` is set.

        Raises:
            ImproperlyConfigured: a URL that no adapter takes.
        """
        conf = self.conf
        if conf.broker_write_url == conf.broker_read_url:
            return self.broker
        return cast("Broker", self._open("broker_write_url", assembly.broker))

    @property
    def store(self) -> Store:
        """The result store; opened on first use.  Without one, `Store.enabled` is false."""
        return cast("Store", self._open("result_backend", assembly.store))

    @property
    def serialization(self) -> Serialization:
        """What writes messages and results and reads messages."""
        return cast("Serialization", self._derive("accept_content", assembly.serialization))

    @property
    def result_serialization(self) -> Serialization:
        """What reads results."""
        return cast("Serialization", self._derive("result_accept_content", assembly.serialization))

    @property
    def router(self) -> Router:
        """What finds queues."""
        return cast("Router", self._derive("task_routes", assembly.router))

    @property
    def oid(self) -> str:
        """The reply address of this process."""
        return oid()

    def queue_names(self) -> list[str]:
        """Return the queues a worker consumes when nobody says which."""
        return self.router.queue_names()

    def disconnect(self) -> None:
        """Give up the connections to broker and store; they are made anew when needed."""
        with self._lock:
            for _, _, adapter in self._opened.values():
                adapter.close()

    def close(self) -> None:
        """Do what `disconnect` does, at the end of an application."""
        self.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- being found -----------------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the application that `current_app` and shared tasks mean."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Make this the application that is meant when none is current."""
        current.set_default_app(self)

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line for this application."""
        self.set_current()
        main: Callable[..., object] = pkgutil.resolve_name(_COMMAND_LINE)
        main(list(sys.argv[1:] if argv is None else argv), app=self)

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """Run a worker for this application: ``app.worker_main(["worker", "--loglevel=INFO"])``."""
        self.start(argv)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> Any:
        # An application cannot travel; in the other process the current one takes its place.
        return current.get_current_app, ()

    # -- inside ----------------------------------------------------------------------------

    def _configuring(self) -> None:
        self.on_configure.send(sender=self)

    def _configured(self) -> None:
        self.on_after_configure.send(sender=self, source=self.conf)

    def _register(self, task: AnyTask) -> AnyTask:
        task.app = self
        self._registry.register(task)
        return task

    def _adopt(self, shared: AnyTask) -> AnyTask:
        task = decorator.adopt(shared, self.Task)
        task.app = self
        return task

    def _derive(self, name: str, make: Callable[[Settings, str], object]) -> object:
        """Return what follows from the settings, made anew when they change."""
        version = self.conf.version
        known = self._derived.get(name)
        if known is None or known[0] != version:
            self.conf.load()
            known = self._derived[name] = (self.conf.version, make(self.conf, name))
        return known[1]

    def _open(self, name: str, make: Callable[[Settings, str, Clock], Broker | Store]) -> object:
        """Return an adapter, opened anew when its URL has changed."""
        version = self.conf.version
        known = self._opened.get(name)
        if known is not None and known[0] == version:
            return known[2]
        with self._lock:
            url = self.conf[name]
            known = self._opened.get(name)
            if known is not None and known[1] != url:
                known[2].close()
                known = None
            adapter = make(self.conf, url, self.clock) if known is None else known[2]
            self._opened[name] = (self.conf.version, url, adapter)
            return adapter


current.set_factory(lambda: Celeriac("default", set_as_current=False))
