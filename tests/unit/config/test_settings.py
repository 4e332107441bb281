"""Settings: names, precedence, checks, and what follows from others."""

from __future__ import annotations

import sys
import types
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.config import SETTINGS, Settings
from celeriac.config import settings as module
from celeriac.error import CeleryWarning, ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.delenv(f"CELERY_{name}", raising=False)
    monkeypatch.setattr(module, "_warned", set())


@pytest.fixture
def config_module() -> Iterator[types.ModuleType]:
    found = types.ModuleType("settings_under_test")
    sys.modules[found.__name__] = found
    yield found
    del sys.modules[found.__name__]


def test_every_default_is_of_its_own_kind() -> None:
    for setting in SETTINGS.values():
        assert setting.check(setting.default) == setting.default, setting.name
        assert setting.doc.endswith("."), setting.name


def test_tasks_are_acknowledged_late_unless_asked_otherwise() -> None:
    assert Settings().task_acks_late is True
    assert Settings({"task_acks_late": False}).task_acks_late is False


def test_changes_win_over_arguments_over_the_config_object_over_defaults() -> None:
    conf = Settings({"task_default_queue": "argument", "task_serializer": "argument"})
    conf.load_from(
        {"task_default_queue": "object", "task_serializer": "object", "result_serializer": "object"}
    )
    conf.task_default_queue = "change"
    assert conf.task_default_queue == "change"
    assert conf.task_serializer == "argument"
    assert conf.result_serializer == "object"
    assert conf.worker_pool == "prefork"


@pytest.mark.parametrize(
    ("spelling", "name", "value"),
    [
        ("CELERY_TASK_SERIALIZER", "task_serializer", "x"),
        ("BROKER_URL", "broker_url", "memory://"),
        ("CELERYD_CONCURRENCY", "worker_concurrency", 3),
        ("TASK_TRACK_STARTED", "task_track_started", True),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires", 5),
    ],
)
def test_old_names_mean_the_setting(spelling: str, name: str, value: Any) -> None:
    conf = Settings({spelling: value})
    assert conf[name] == conf[spelling] == getattr(conf, name) == value
    assert spelling in conf
    assert name in conf.without_defaults()


def test_one_setting_under_two_names_with_two_values_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"task_serializer.*CELERY_TASK_SERIALIZER"):
        Settings({"task_serializer": "a", "CELERY_TASK_SERIALIZER": "b"})


def test_a_namespace_takes_its_own_names_only(config_module: types.ModuleType) -> None:
    vars(config_module).update(
        CELERY_BROKER_URL="memory://here",
        CELERY_TASK_ALWAYS_EAGER=True,
        DEBUG=True,
        BROKER_URL="memory://elsewhere",
    )
    conf = Settings()
    conf.load_from(config_module.__name__, "CELERY")
    assert conf.broker_url == "memory://here"
    assert conf.task_always_eager is True
    assert "debug" not in conf


def test_a_module_is_read_on_first_access_and_its_imports_are_not_settings(
    config_module: types.ModuleType,
) -> None:
    conf = Settings()
    conf.load_from(config_module.__name__)
    vars(config_module).update(task_default_queue="late", sys=sys, helper=len, redbeat_url="kept")
    assert conf.task_default_queue == "late"
    assert conf.redbeat_url == "kept"
    assert "sys" not in conf
    assert "helper" not in conf


def test_an_object_may_be_named_by_its_path(config_module: types.ModuleType) -> None:
    vars(config_module)["Production"] = types.SimpleNamespace(task_default_queue="p")
    for path in ("settings_under_test:Production",):
        conf = Settings()
        conf.load_from(path)
        assert conf.task_default_queue == "p"


@pytest.mark.parametrize("path", ["no_such_module_anywhere", "celeriac.config:nothing"])
def test_a_config_object_that_is_not_there_is_named(path: str) -> None:
    conf = Settings()
    conf.load_from(path)
    with pytest.raises(ImproperlyConfigured, match=path.partition(":")[0]):
        conf.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", "no"),
        ("worker_concurrency", "four"),
        ("worker_concurrency", 1.5),
        ("worker_concurrency", True),
        ("lease_ttl", "30"),
        ("task_serializer", 1),
        ("accept_content", 5),
        ("broker_transport_options", [1]),
        ("broker_url", 3),
    ],
)
def test_a_value_of_the_wrong_kind_names_key_value_and_kind(name: str, value: Any) -> None:
    conf = Settings()
    before = conf[name]
    with pytest.raises(ImproperlyConfigured) as caught:
        conf[name] = value
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)
    assert SETTINGS[name].kind.name in str(caught.value)
    assert conf[name] == before


def test_values_are_kept_in_one_form() -> None:
    conf = Settings({"result_expires": timedelta(minutes=1), "imports": "one", "include": ["a"]})
    assert conf.result_expires == 60
    assert conf.imports == ("one",)
    assert conf.include == ("a",)


def test_a_misspelt_setting_warns_once_and_is_kept() -> None:
    conf = Settings()
    with pytest.warns(CeleryWarning, match='"task_acks_late"') as warnings:
        conf.update(task_acks_lat=True)
    assert len(warnings) == 1
    conf.task_acks_lat = True  # a second warning would be an error
    assert conf.task_acks_lat is True


def test_settings_of_plugins_do_not_warn() -> None:
    conf = Settings()
    conf.redbeat_redis_url = "redis://"
    assert conf.get("redbeat_redis_url") == "redis://"


def test_reading_an_unknown_name_suggests_the_nearest() -> None:
    conf = Settings()
    with pytest.raises(AttributeError, match='"task_track_started"'):
        _ = conf.task_trackstarted
    assert conf.get("nothing", 1) == 1
    with pytest.raises(KeyError):
        conf["nothing"]


def test_with_nothing_configured_everything_is_in_one_file() -> None:
    conf = Settings()
    assert conf.broker_url == conf.broker_read_url == conf.broker_write_url
    assert conf.result_backend == conf.broker_url == "sqlite:///celeriac.db"


def test_with_only_a_broker_there_are_no_results() -> None:
    assert Settings({"broker_url": "memory://"}).result_backend is None
    assert Settings({"broker_read_url": "memory://"}).result_backend is None


def test_read_and_write_may_go_to_different_brokers() -> None:
    conf = Settings({"broker_url": "memory://a", "broker_write_url": "memory://b"})
    assert (conf.broker_read_url, conf.broker_write_url) == ("memory://a", "memory://b")


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://environment")
    conf = Settings({"broker_url": "memory://argument"})
    conf.broker_url = "memory://change"
    assert conf.broker_url == "memory://environment"
    assert conf.result_backend is None


def test_exchange_and_routing_key_follow_the_default_queue() -> None:
    conf = Settings({"task_default_queue": "q"})
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("q", "q")


def test_a_default_dict_belongs_to_one_application() -> None:
    one, other = Settings(), Settings()
    one.broker_transport_options["x"] = 1
    one.task_serializer = "json"
    assert one.broker_transport_options == {"x": 1}
    assert other.broker_transport_options == {}


def test_the_version_goes_up_with_every_change() -> None:
    conf = Settings()
    seen = [conf.version]
    conf.task_serializer = "json"
    seen.append(conf.version)
    conf.update(task_serializer="x", task_default_queue="y")
    seen.append(conf.version)
    conf.load_from({})
    seen.append(conf.version)
    assert seen == sorted(set(seen))


def test_it_reads_as_a_mapping() -> None:
    conf = Settings({"task_default_queue": "q"})
    assert dict(conf.items())["task_default_queue"] == "q"
    assert set(conf) == set(conf.keys()) >= set(SETTINGS)
    assert len(conf) == len(list(conf.values()))
    assert conf.first("timezone", "task_default_queue") == "q"
    conf.add_defaults({"task_default_queue": "other", "timezone": "UTC"})
    assert (conf.task_default_queue, conf.timezone) == ("q", "UTC")


def test_receivers_of_loading_see_and_change_settings() -> None:
    told: list[str] = []

    def before() -> None:
        conf.task_default_queue = "before"

    def after() -> None:
        told.append(conf.task_default_queue)
        conf.task_serializer = "after"

    conf = Settings(None, before, after)
    assert conf.task_serializer == "after"
    assert told == ["before"]
