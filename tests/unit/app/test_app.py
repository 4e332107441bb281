"""The application."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import celeriac
from celeriac import Celeriac, Celery, Task, signal
from celeriac.error import ContentDisallowed, ImproperlyConfigured

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_public_names_are_sorted_and_exist() -> None:
    assert celeriac.__all__ == sorted(celeriac.__all__)
    assert all(hasattr(celeriac, name) for name in celeriac.__all__)
    assert Celery is Celeriac


def test_importing_is_light_and_making_an_app_opens_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, celeriac; app = celeriac.Celeriac('x'); app.task(name='t')(print); "
        "print([m for m in ('asyncio', 'redis', 'sqlite3', 'click') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_arguments_are_settings() -> None:
    app = Celeriac(
        "m",
        broker="memory://b",
        backend="memory://r",
        include=["one"],
        task_serializer="json",
        CELERYD_CONCURRENCY=3,
        set_as_current=False,
    )
    conf = app.conf
    assert (conf.broker_url, conf.result_backend, conf.include) == (
        "memory://b",
        "memory://r",
        ("one",),
    )
    assert conf.worker_concurrency == 3


def test_config_sources(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "app_config_subject.py").write_text("task_default_queue = 'module'\n")
    app = Celeriac(set_as_current=False)
    app.config_from_object("app_config_subject")
    assert app.conf.task_default_queue == "module"
    monkeypatch.setenv("SUBJECT_CONFIG", "app_config_subject")
    other = Celeriac(set_as_current=False)
    assert other.config_from_envvar("SUBJECT_CONFIG", force=True)
    assert other.conf.task_default_queue == "module"
    assert not other.config_from_envvar("SUBJECT_NOT_SET", silent=True)
    with pytest.raises(ImproperlyConfigured, match="SUBJECT_NOT_SET"):
        other.config_from_envvar("SUBJECT_NOT_SET")
    other.config_from_object("no_such_config_module", silent=True)
    assert other.conf.task_default_queue == "celery"
    with pytest.raises(ImproperlyConfigured, match="no_such_config_module"):
        other.config_from_object("no_such_config_module", force=True)
    given = Celeriac(
        config_source={"CELERY_TASK_DEFAULT_QUEUE": "n"}, namespace="CELERY", set_as_current=False
    )
    assert given.conf.task_default_queue == "n"


def test_receivers_of_configuration() -> None:
    app = Celeriac(set_as_current=False)
    told: list[Any] = []

    @app.on_configure.connect
    def configure(sender: Celeriac, **_: Any) -> None:
        sender.conf.task_default_queue = "configured"

    @app.on_after_configure.connect
    def configured(sender: Celeriac, source: Any, **_: Any) -> None:
        told.append((sender, source.task_default_queue))

    assert told == []
    assert app.conf.task_default_queue == "configured"
    assert told == [(app, "configured")]


def test_broker_and_store_are_opened_once_and_anew_for_another_url(app: Celeriac) -> None:
    broker, store = app.broker, app.store
    assert (app.broker, app.store, app.write_broker) == (broker, store, broker)
    app.conf.task_default_queue = "x"
    assert app.broker is broker
    app.conf.broker_url = "memory://elsewhere-for-this-test"
    assert app.broker is not broker
    assert app.write_broker is app.broker
    assert app.store is store


def test_messages_may_be_sent_elsewhere_than_received_from(app: Celeriac) -> None:
    app.conf.broker_write_url = "memory://write-side-of-this-test"
    assert app.write_broker.display == "memory://write-side-of-this-test"
    assert app.broker is not app.write_broker


def test_an_unknown_scheme_suggests_the_nearest() -> None:
    app = Celeriac(broker="rediss2://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="rediss"):
        _ = app.broker
    app.conf.broker_url = "memory://a;memory://b"
    with pytest.raises(ImproperlyConfigured, match="broker_url names several"):
        _ = app.broker


def test_a_closed_application_opens_anew(app: Celeriac) -> None:
    task = app.task(name="t")(lambda: None)
    task.delay()
    app.close()
    task.delay()
    assert app.broker.depth(["celery"])["celery"].ready == 2


def test_the_time_zone(app: Celeriac) -> None:
    assert app.timezone is UTC
    app.conf.timezone = "Asia/Kolkata"
    assert app.now().utcoffset() == timedelta(hours=5, minutes=30)
    app.conf.timezone = "Middle/Earth"
    with pytest.raises(ImproperlyConfigured, match="Middle/Earth"):
        _ = app.timezone


def test_what_is_accepted_follows_the_settings(app: Celeriac) -> None:
    assert app.serialization is app.serialization
    app.conf.accept_content = []
    with pytest.raises(ContentDisallowed):
        app.serialization.loads(b"1", "application/json", "utf-8")
    app.conf.result_accept_content = ["json"]
    assert app.result_serialization.loads(b"1", "application/json", "utf-8") == 1


def test_queues_to_consume(app: Celeriac) -> None:
    assert app.queue_names() == ["celery"]
    app.conf.task_queues = ["a", "b"]
    assert app.queue_names() == ["a", "b"]


def test_the_class_of_tasks(app: Celeriac) -> None:
    class Mine(Task[..., Any]):
        max_retries = 9

    app.task_cls = Mine
    assert app.task(name="t")(lambda: None).max_retries == 9
    app.task_cls = "celeriac.task:Task"
    assert app.Task is Task


def test_tasks_are_found_by_convention(project: Path) -> None:
    for name in ("found_one", "found_two"):
        (project / name).mkdir()
        (project / name / "__init__.py").touch()
    (project / "found_one" / "tasks.py").write_text("LOADED = True\n")
    (project / "found_by_import.py").touch()
    app = Celeriac(imports=["found_by_import"], broker="memory://", set_as_current=False)
    told: list[Any] = []

    def imported(sender: Any, **_: Any) -> None:
        told.append(sender)

    app.autodiscover_tasks(lambda: ["found_one", "found_two"])
    assert "found_one.tasks" not in sys.modules
    signal.import_modules.connect(imported, sender=app)
    app.import_tasks()
    assert told == [app]
    assert "found_one.tasks" in sys.modules
    assert "found_by_import" in sys.modules


def test_a_task_module_that_fails_is_not_passed_over(project: Path) -> None:
    (project / "found_broken").mkdir()
    (project / "found_broken" / "__init__.py").touch()
    (project / "found_broken" / "tasks.py").write_text("import no_such_module_inside\n")
    app = Celeriac(broker="memory://", set_as_current=False)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_inside"):
        app.autodiscover_tasks(["found_broken"], force=True)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        app.autodiscover_tasks(["no_such_package_at_all"], force=True)


def test_discovery_asks_django(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "found_django").mkdir()
    (project / "found_django" / "__init__.py").touch()
    (project / "found_django" / "tasks.py").touch()
    app = Celeriac(broker="memory://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="Django"):
        app.autodiscover_tasks(force=True)
    config = types.SimpleNamespace(name="found_django")
    registry = types.SimpleNamespace(get_app_configs=lambda: [config])
    monkeypatch.setitem(sys.modules, "django.apps", types.SimpleNamespace(apps=registry))  # type: ignore[arg-type]
    app.autodiscover_tasks(force=True)
    assert "found_django.tasks" in sys.modules


def test_finalizing_tells_once(app: Celeriac) -> None:
    told: list[Any] = []

    @app.on_after_finalize.connect
    def finalized(sender: Any, **_: Any) -> None:
        told.append(sender)

    app.finalize()
    app.finalize()
    assert told == [app]


def test_an_application_travels_as_the_current_one(app: Celeriac) -> None:
    app.set_current()
    assert pickle.loads(pickle.dumps(app)) is app
    assert repr(app).startswith("<Celeriac subject at 0x")


def test_the_same_reply_address_for_the_life_of_the_process(app: Celeriac) -> None:
    assert app.oid == app.oid
