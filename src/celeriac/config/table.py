"""Every setting, declared once.  The reference page and the checks are made from this table."""

from __future__ import annotations

from celeriac.config.setting import (
    ANY,
    BOOL,
    DICT,
    FLOAT,
    INT,
    NAMES,
    SECONDS,
    STR,
    URL,
    Setting,
)

_COMMON = (
    Setting(
        "accept_content",
        NAMES,
        ("json",),
        "Serializers, by name or content type, that received messages may use.",
        ("CELERY_ACCEPT_CONTENT",),
    ),
    Setting(
        "enable_utc",
        BOOL,
        True,
        "Kept for compatibility; times on the wire are always UTC.",
        ("CELERY_ENABLE_UTC",),
    ),
    Setting(
        "imports",
        NAMES,
        (),
        "Modules that the worker imports when it starts.",
        ("CELERY_IMPORTS",),
    ),
    Setting(
        "include",
        NAMES,
        (),
        "Like imports; set by the include argument of the application.",
        ("CELERY_INCLUDE",),
    ),
    Setting(
        "timezone",
        ANY,
        None,
        "Name of the time zone of the application; UTC when not set.",
        ("CELERY_TIMEZONE", "TIME_ZONE"),
    ),
)

_BROKER = (
    Setting("broker_url", URL, None, "Where messages go; an embedded SQLite file when not set."),
    Setting("broker_read_url", URL, None, "Where workers receive, when not broker_url."),
    Setting("broker_write_url", URL, None, "Where messages are sent, when not broker_url."),
    Setting("broker_transport_options", DICT, {}, "Options of the broker's adapter."),
    Setting(
        "broker_connection_retry",
        BOOL,
        True,
        "A starting worker waits for a broker that is not there.",
        ("BROKER_CONNECTION_RETRY",),
    ),
    Setting(
        "broker_connection_retry_on_startup",
        BOOL,
        None,
        "The same, for configurations that say it apart; None means broker_connection_retry.",
    ),
    Setting(
        "broker_connection_max_retries",
        INT,
        None,
        "How often a starting worker tries to reach the broker; None and 0 mean without end.",
    ),
    Setting(
        "publish_timeout",
        SECONDS,
        10.0,
        "Seconds that sending a message may take, retries included.",
    ),
    Setting("lease_ttl", SECONDS, 30.0, "Seconds that the right to run a message lives unrenewed."),
    Setting("lease_heartbeat", SECONDS, 10.0, "Seconds between renewals of leases."),
    Setting(
        "recovery_grace",
        SECONDS,
        15.0,
        "Seconds that an expired lease is watched before another worker takes it over.",
    ),
    Setting("dead_letter_ttl", SECONDS, 30 * 86400.0, "Seconds that dead letters are kept."),
    Setting(
        "max_message_bytes", INT, 64 * 1024 * 1024, "Longer messages are neither sent nor decoded."
    ),
)

_RESULT = (
    Setting(
        "result_backend",
        URL,
        None,
        "Where results are kept.  With neither this nor broker_url set: the embedded SQLite file; "
        "with only broker_url set: nowhere.",
        ("CELERY_RESULT_BACKEND",),
    ),
    Setting(
        "result_backend_transport_options",
        DICT,
        {},
        "Options of the result store's adapter.",
        ("CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",),
    ),
    Setting(
        "result_accept_content",
        NAMES,
        None,
        "Serializers that received results may use; None means accept_content.",
    ),
    Setting(
        "result_expires",
        SECONDS,
        86400.0,
        "Seconds that results are kept; None and 0 mean for ever.",
        ("CELERY_TASK_RESULT_EXPIRES", "CELERY_RESULT_EXPIRES"),
    ),
    Setting(
        "result_extended",
        BOOL,
        False,
        "Results also tell the task's name, arguments, worker, retries and queue.",
        ("CELERY_RESULT_EXTENDED",),
    ),
    Setting(
        "result_persistent",
        BOOL,
        None,
        "Kept for compatibility; concerns message based result backends.",
        ("CELERY_RESULT_PERSISTENT",),
    ),
    Setting(
        "result_serializer",
        STR,
        "json",
        "Serializer of results.",
        ("CELERY_RESULT_SERIALIZER",),
    ),
)

_TASK = (
    Setting(
        "task_acks_late",
        BOOL,
        True,
        "Acknowledge after the run.  False: before it; a crash then fails the task.",
        ("CELERY_ACKS_LATE",),
    ),
    Setting(
        "task_acks_on_failure_or_timeout",
        BOOL,
        True,
        "Acknowledge tasks that failed too; False makes them dead letters.",
        ("CELERY_ACKS_ON_FAILURE_OR_TIMEOUT",),
    ),
    Setting(
        "task_always_eager",
        BOOL,
        False,
        "delay() and apply_async() run the task at once in the caller.",
        ("CELERY_ALWAYS_EAGER",),
    ),
    Setting(
        "task_create_missing_queues",
        BOOL,
        True,
        "Accept queue names that task_queues does not declare.",
        ("CELERY_CREATE_MISSING_QUEUES",),
    ),
    Setting(
        "task_default_delivery_mode",
        ANY,
        2,
        "2 or 'persistent', 1 or 'transient'; brokers that can keep messages always do.",
        ("CELERY_DEFAULT_DELIVERY_MODE",),
    ),
    Setting(
        "task_default_exchange",
        STR,
        None,
        "Exchange of the default queue; None means its name.",
        ("CELERY_DEFAULT_EXCHANGE",),
    ),
    Setting(
        "task_default_exchange_type",
        STR,
        "direct",
        "Type of the default exchange.",
        ("CELERY_DEFAULT_EXCHANGE_TYPE",),
    ),
    Setting(
        "task_default_priority",
        INT,
        None,
        "Priority of messages of which nothing else says one.",
        ("CELERY_DEFAULT_PRIORITY",),
    ),
    Setting(
        "task_default_queue",
        STR,
        "celery",
        "Queue of tasks that nothing routes elsewhere.",
        ("CELERY_DEFAULT_QUEUE",),
    ),
    Setting(
        "task_default_rate_limit",
        ANY,
        None,
        "Rate limit of tasks that have none of their own.",
        ("CELERY_DEFAULT_RATE_LIMIT",),
    ),
    Setting(
        "task_default_routing_key",
        STR,
        None,
        "Routing key of the default queue; None means its name.",
        ("CELERY_DEFAULT_ROUTING_KEY",),
    ),
    Setting(
        "task_eager_propagates",
        BOOL,
        False,
        "Exceptions of tasks that run eagerly reach the caller.",
        ("CELERY_EAGER_PROPAGATES_EXCEPTIONS",),
    ),
    Setting(
        "task_ignore_result",
        BOOL,
        False,
        "Store no results.",
        ("CELERY_IGNORE_RESULT",),
    ),
    Setting(
        "task_protocol",
        INT,
        2,
        "Message protocol to send; only 2 is sent, 1 is understood.",
        ("CELERY_TASK_PROTOCOL",),
    ),
    Setting(
        "task_publish_retry",
        BOOL,
        True,
        "Try again when the broker cannot be reached, within publish_timeout.",
        ("CELERY_TASK_PUBLISH_RETRY",),
    ),
    Setting(
        "task_publish_retry_policy",
        DICT,
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
        "How often to try again, and the seconds in between.",
        ("CELERY_TASK_PUBLISH_RETRY_POLICY",),
    ),
    Setting(
        "task_queues",
        ANY,
        None,
        "The queues: names, a dict from name to options, or objects with a name.",
        ("CELERY_QUEUES",),
    ),
    Setting(
        "task_reject_on_worker_lost",
        BOOL,
        None,
        "False: a task whose process died is not run again but fails.",
        ("CELERY_REJECT_ON_WORKER_LOST",),
    ),
    Setting(
        "task_routes",
        ANY,
        None,
        "Where tasks go: a dict from name or pattern to a queue or options, a function, or a list.",
        ("CELERY_ROUTES",),
    ),
    Setting("task_serializer", STR, "json", "Serializer of messages.", ("CELERY_TASK_SERIALIZER",)),
    Setting(
        "task_soft_time_limit",
        SECONDS,
        None,
        "Seconds after which SoftTimeLimitExceeded is raised in the task.",
        ("CELERYD_TASK_SOFT_TIME_LIMIT",),
    ),
    Setting(
        "task_store_eager_result",
        BOOL,
        False,
        "Store the results of tasks that run eagerly.",
        ("CELERY_STORE_EAGER_RESULT",),
    ),
    Setting(
        "task_store_errors_even_if_ignored",
        BOOL,
        False,
        "Store failures of tasks that ignore their results.",
        ("CELERY_STORE_ERRORS_EVEN_IF_IGNORED",),
    ),
    Setting(
        "task_time_limit",
        SECONDS,
        None,
        "Seconds after which the process that runs the task is killed.",
        ("CELERYD_TASK_TIME_LIMIT",),
    ),
    Setting(
        "task_track_started",
        BOOL,
        False,
        "Store the state STARTED.",
        ("CELERY_TRACK_STARTED",),
    ),
    Setting("max_deaths", INT, 3, "Deaths of its process after which a task is a dead letter."),
    Setting("max_losses", INT, 10, "Losses of its lease after which a task is a dead letter."),
)

_WORKER = (
    Setting(
        "worker_concurrency",
        INT,
        None,
        "How many tasks run at once; None means the number of processors.",
        ("CELERYD_CONCURRENCY",),
    ),
    Setting(
        "worker_hijack_root_logger",
        BOOL,
        True,
        "The worker takes the handlers of the root logger away.",
        ("CELERYD_HIJACK_ROOT_LOGGER",),
    ),
    Setting(
        "worker_log_color",
        BOOL,
        None,
        "Colour the log; None means on a terminal only.",
        ("CELERYD_LOG_COLOR",),
    ),
    Setting(
        "worker_log_datefmt",
        STR,
        None,
        "Format of times in the log.",
        ("CELERYD_LOG_DATEFMT",),
    ),
    Setting(
        "worker_log_format",
        STR,
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "Format of log lines.",
        ("CELERYD_LOG_FORMAT",),
    ),
    Setting(
        "worker_pool",
        STR,
        "prefork",
        "prefork, threads, asyncio or solo.",
        ("CELERYD_POOL",),
    ),
    Setting(
        "worker_prefetch_limit",
        INT,
        1000,
        "Messages that a child may lease ahead at most; within it the window adapts itself.",
    ),
    Setting(
        "worker_prefetch_multiplier",
        FLOAT,
        4,
        "Kept for compatibility; see worker_prefetch_limit.",
        ("CELERYD_PREFETCH_MULTIPLIER",),
    ),
    Setting(
        "worker_redirect_stdouts",
        BOOL,
        True,
        "What tasks print goes to the log.",
        ("CELERY_REDIRECT_STDOUTS",),
    ),
    Setting(
        "worker_redirect_stdouts_level",
        ANY,
        "WARNING",
        "Log level of what tasks print.",
        ("CELERY_REDIRECT_STDOUTS_LEVEL",),
    ),
    Setting(
        "worker_task_log_datefmt",
        STR,
        None,
        "Format of times in log lines of tasks.",
        ("CELERYD_TASK_LOG_DATEFMT",),
    ),
    Setting(
        "worker_task_log_format",
        STR,
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
        "Format of log lines that tasks write.",
        ("CELERYD_TASK_LOG_FORMAT",),
    ),
    Setting(
        "shutdown_grace",
        SECONDS,
        None,
        "Seconds that running tasks get at shutdown; None means until they are done.",
    ),
)

#: By canonical name.
SETTINGS: dict[str, Setting] = {
    setting.name: setting for setting in (*_COMMON, *_BROKER, *_RESULT, *_TASK, *_WORKER)
}

#: From every other accepted spelling to the canonical name.
ALIASES: dict[str, str] = {
    alias: name for name, setting in SETTINGS.items() for alias in (name.upper(), *setting.old)
}
