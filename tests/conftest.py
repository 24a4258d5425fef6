"""What all tests need: no Redis, no secrets of the machine, and a record of the wakes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as profiles

from tests.examples import examples
from tests.monitors.kinds.places import public_folder
from tests.redis_server import RedisServer


def pytest_configure() -> None:
    """Settings that tests never share with a running installation."""
    settings.SECRET_KEY = "only-for-tests-and-never-written-to-a-file"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # nobody listens on port 1: a forgotten patch shows
    # How long an example takes depends on what else the machine does: no test may fail by that. What a change breaks
    # must be told by its own run, not by the luck of a later one: there the examples are the same each time.
    profiles.register_profile(
        "halfpipe",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        max_examples=examples(100),
        derandomize="CI" in os.environ,
    )
    profiles.load_profile("halfpipe")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database file of this run alone: unlike one in memory, threads can share it."""
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        path: Path = tmp_path_factory.mktemp("database") / "test.sqlite3"
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(path)


@pytest.fixture(scope="session", autouse=True)
def audit_can_be_emptied() -> Iterator[None]:
    """Let tests with transactions of their own empty the database, which the audit's triggers refuse."""
    from django.core.management.commands.flush import Command  # noqa: PLC0415 - after django.setup()
    from django.db import connections  # noqa: PLC0415 - as above

    from webui.audit import triggers  # noqa: PLC0415 - as above

    handle = Command.handle

    def without_triggers(self: Command, **options: Any) -> None:
        triggers.remove(connections[options["database"]])
        handle(self, **options)
        triggers.install(connections[options["database"]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Command, "handle", without_triggers)
        yield


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that servers running as other users can enter."""
    with public_folder() as folder:
        yield folder


@pytest.fixture(autouse=True)
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wakes of the dataplane worker, recorded instead of sent to Redis."""
    from webui import wake  # noqa: PLC0415 - after django.setup()

    sent: list[str] = []
    monkeypatch.setattr(wake, "wake_dataplane", lambda: sent.append("wake"))
    return sent


@pytest.fixture
def redis_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A running Redis that the settings name."""
    server = RedisServer(tmp_path)
    monkeypatch.setattr(settings, "REDIS_URL", server.url)
    server.start()
    try:
        yield server
    finally:
        server.kill()
