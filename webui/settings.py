"""Settings. The environment is parsed once, here; unknown HALFPIPE_ variables and nonsense values stop the start."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

MIN_TOKEN = 16  # characters
ROLES = ("read-only", "operator", "network", "superuser")  # as in webui/choices.py, which needs these settings

# Every variable that Halfpipe reads: (parser, default).
ENVIRONMENT: dict[str, tuple[type, Any]] = {
    "HALFPIPE_DATABASE_URL": (str, f"sqlite:///{BASE_DIR / 'db.sqlite3'}"),
    "HALFPIPE_REDIS_URL": (str, "redis://127.0.0.1:6379/0"),
    "HALFPIPE_SECRET_KEY_FILE": (str, str(BASE_DIR / ".lab" / "secret-key")),
    "HALFPIPE_ALLOWED_HOSTS": (list, ["127.0.0.1", "localhost"]),
    "HALFPIPE_CSRF_TRUSTED_ORIGINS": (list, []),
    "HALFPIPE_TLS": (bool, False),
    "HALFPIPE_PROXY_TLS_HEADER": (str, ""),
    "HALFPIPE_SECOND_FACTOR_ROLES": (list, []),
    "HALFPIPE_DEBUG": (bool, False),
    "HALFPIPE_TIME_ZONE": (str, "UTC"),
    "HALFPIPE_LOG_LEVEL": (str, "INFO"),
    "HALFPIPE_DIRECTOR": (str, socket.gethostname()),
    "HALFPIPE_INTERFACES": (list, []),
    "HALFPIPE_PIN_DIR": (str, "/sys/fs/bpf/halfpipe"),
    "HALFPIPE_STATE_DIR": (str, str(BASE_DIR / ".lab" / "state")),
    "HALFPIPE_BPF_OBJECT": (str, str(BASE_DIR / "build" / "forward.bpf.o")),
    "HALFPIPE_PROBE_NETWORK": (str, "198.18.0.0/15"),
    "HALFPIPE_MONITOR_SCRIPTS": (str, str(BASE_DIR / "monitors" / "scripts")),
    "HALFPIPE_PROBE_NETWORK6": (str, "2001:2:0:1::/112"),
    "HALFPIPE_METRICS_TOKEN_FILE": (str, ""),
}


def _read_environment() -> dict[str, Any]:
    unknown = sorted(name for name in os.environ if name.startswith("HALFPIPE_") and name not in ENVIRONMENT)
    if unknown:
        msg = f"Unknown settings in the environment: {', '.join(unknown)}. Known: {', '.join(sorted(ENVIRONMENT))}."
        raise ImproperlyConfigured(msg)
    env = environ.Env(**ENVIRONMENT)
    values: dict[str, Any] = {}
    for name, (kind, _default) in ENVIRONMENT.items():
        if kind is bool and os.environ.get(name, "0").lower() not in {
            "0",
            "1",
            "true",
            "false",
            "yes",
            "no",
            "on",
            "off",
        }:
            msg = f"{name}={os.environ[name]!r} is neither on nor off: use 1 or 0."
            raise ImproperlyConfigured(msg)
        values[name] = env(name)
    return values


def _secret_key(path: Path) -> str:
    """The secret of this installation, made at first start with mode 0600."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = secrets.token_urlsafe(50)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was first
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
        return key


def _metrics_token(name: str) -> str:
    """The token that /metrics asks for; none without a file. Raises ImproperlyConfigured for what protects nothing."""
    if not name:
        return ""
    try:
        token = Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"HALFPIPE_METRICS_TOKEN_FILE={name} cannot be read: {error}."
        raise ImproperlyConfigured(msg) from error
    if len(token) < MIN_TOKEN or not token.isascii() or any(char.isspace() for char in token):
        msg = f"HALFPIPE_METRICS_TOKEN_FILE={name} holds no token: {MIN_TOKEN} ASCII characters at least, no space."
        raise ImproperlyConfigured(msg)
    return token


def _second_factor_roles(given: list[str]) -> frozenset[str]:
    """Roles whose users need a second factor. Raises ImproperlyConfigured for what is none."""
    wrong = sorted(set(given) - set(ROLES))
    if wrong:
        msg = f"HALFPIPE_SECOND_FACTOR_ROLES names {', '.join(wrong)}, which is no role: use {', '.join(ROLES)}."
        raise ImproperlyConfigured(msg)
    return frozenset(given)


def _proxy_tls_header(given: str) -> tuple[str, str] | None:
    """Header and value by which a proxy says that it was spoken to by TLS, as Django wants it."""
    if not given:
        return None
    name, equals, value = given.partition("=")
    if not equals or not value or not all(part.isalnum() for part in name.split("-")):
        msg = f"HALFPIPE_PROXY_TLS_HEADER={given!r} is not NAME=VALUE, such as X-Forwarded-Proto=https."
        raise ImproperlyConfigured(msg)
    return f"HTTP_{name.upper().replace('-', '_')}", value


_env = _read_environment()

DEBUG: bool = _env["HALFPIPE_DEBUG"]
SECRET_KEY = _secret_key(Path(_env["HALFPIPE_SECRET_KEY_FILE"]))
ALLOWED_HOSTS: list[str] = _env["HALFPIPE_ALLOWED_HOSTS"]
CSRF_TRUSTED_ORIGINS: list[str] = _env["HALFPIPE_CSRF_TRUSTED_ORIGINS"]

# Behind TLS the cookies are for TLS alone; without, a browser would never send them back.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _env["HALFPIPE_TLS"]
SECURE_HSTS_SECONDS = 31_536_000 if _env["HALFPIPE_TLS"] else 0
# Only where it is said that a proxy sets the header, and takes away what a client sent under its name.
SECURE_PROXY_SSL_HEADER = _proxy_tls_header(_env["HALFPIPE_PROXY_TLS_HEADER"])
SESSION_COOKIE_HTTPONLY = True
# A session ends after so long without use; use renews it (webui/middleware.py).
SESSION_COOKIE_AGE = 12 * 3600
SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "channels",
    "webui",
]

MIDDLEWARE = [
    # Pages hold no secret but the CSRF token, which is masked anew in each; Django pads besides (BREACH).
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "webui.middleware.content_security_policy",
    "webui.api.problems.problem_details",
    "webui.api.calls.audited",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "webui.middleware.AccessMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "webui.middleware.page_for_405",
    "axes.middleware.AxesMiddleware",  # the last: it replaces the answer to a login that is locked out
]

# Login throttling (django-axes): by name and address together, so that nobody locks out others from elsewhere.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # so that the time that the page tells is true
AXES_LOCKOUT_CALLABLE = "webui.views.login.locked_out"
AXES_CLIENT_IP_CALLABLE = "webui.signals.source_address"
AXES_DISABLE_ACCESS_LOG = True  # the audit has it
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = False

SECOND_FACTOR_ROLES = _second_factor_roles(_env["HALFPIPE_SECOND_FACTOR_ROLES"])

ROOT_URLCONF = "webui.urls"
ASGI_APPLICATION = "webui.asgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "dashboard"
LOGOUT_REDIRECT_URL = "login"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "webui" / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {"halfpipe": "webui.templatetags.halfpipe"},
        },
    }
]

DATABASES: dict[str, dict[str, Any]] = {"default": environ.Env.db_url_config(_env["HALFPIPE_DATABASE_URL"])}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Several processes write: WAL lets readers go on, IMMEDIATE takes the write lock before reading what is changed.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON",
    }
elif DATABASES["default"]["ENGINE"].endswith("postgresql"):
    # In seconds and milliseconds: behind a dead link the dataplane worker must come back to its neighbours.
    _limits = {"connect_timeout": 5, "tcp_user_timeout": 10_000}
    DATABASES["default"]["OPTIONS"] = _limits | DATABASES["default"].get("OPTIONS", {})

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "webui.passwords.AnotherThanGiven"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = _env["HALFPIPE_TIME_ZONE"]
USE_TZ = True
USE_I18N = False


def _static_version(folder: Path) -> str:
    """A name for the static files as they are now: when one of them changes, so do the addresses of all."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


# Scripts import each other by relative addresses, so the version is a folder. While somebody edits them, they stay put.
STATIC_URL = "static/" if DEBUG else f"static/{_static_version(BASE_DIR / 'webui' / 'static')}/"
WHITENOISE_USE_FINDERS = True  # no collect step: the vendored files are served from where they lie
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/static/[0-9a-f]{12}/"  # what has a version is kept by browsers for good

REDIS_URL: str = _env["HALFPIPE_REDIS_URL"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # redis-py 8 gives up a read after 5 s and allows 100 connections; this layer waits in
        # blocking reads, one connection for each browser.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None, "max_connections": 4000}]},
    }
}

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "webui.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    # A tick that could not be delivered in time is worthless: the next one does its work.
    "sweep": {"task": "monitors.tasks.sweep", "schedule": 1.0, "options": {"expires": 2}},
    "events": {"task": "webui.events.tasks.deliver", "schedule": 1.0, "options": {"expires": 2}},
    # The console looks too, and more often: this is for a machine without one.
    "watch": {"task": "webui.events.tasks.watch", "schedule": 30.0, "options": {"expires": 30}},
    "revisions": {"task": "webui.revision_tasks.expire", "schedule": 2.0, "options": {"expires": 2}},
    "metrics": {"task": "webui.metrics.tasks.keep", "schedule": 10.0, "options": {"expires": 10}},
}

METRICS_TOKEN: str = _metrics_token(_env["HALFPIPE_METRICS_TOKEN_FILE"])

DIRECTOR: str = _env["HALFPIPE_DIRECTOR"]
DIRECTOR_INTERFACES: list[str] = _env["HALFPIPE_INTERFACES"]
PIN_DIR = Path(_env["HALFPIPE_PIN_DIR"])
STATE_DIR = Path(_env["HALFPIPE_STATE_DIR"])
BPF_OBJECT = Path(_env["HALFPIPE_BPF_OBJECT"])
try:
    PROBE_NETWORK = ip_network(_env["HALFPIPE_PROBE_NETWORK"])
    PROBE_NETWORK6 = ip_network(_env["HALFPIPE_PROBE_NETWORK6"])
except ValueError as error:
    msg = f"HALFPIPE_PROBE_NETWORK or HALFPIPE_PROBE_NETWORK6 is no network: {error}."
    raise ImproperlyConfigured(msg) from error

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": _env["HALFPIPE_LOG_LEVEL"]},
    "loggers": {"axes": {"level": "WARNING"}},  # of each login it says what the audit has
}
