"""A real console: uvicorn on a free port, its own Redis on a Unix socket, and the database of the test run.

Playwright keeps an event loop in the main thread, so rows are written in another one (fixture ``apply``).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import override_settings
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
PASSWORD = "correct horse battery"

Apply = Callable[..., Any]


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Debian's Chromium, which shall talk to nobody but us."""
    return {
        "executable_path": shutil.which("chromium") or "/usr/bin/chromium",
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--disable-quic",
        ],
    }


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this run alone."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "s"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until(path.exists, process)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def environment(
    redis_url: str, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the processes of this run get to know."""
    with django_db_blocker.unblock():
        name = connection.settings_dict["NAME"]
    return {key: value for key, value in os.environ.items() if not key.startswith("HALFPIPE_")} | {
        "HALFPIPE_DATABASE_URL": f"sqlite:///{name}",
        "HALFPIPE_REDIS_URL": redis_url,
        "HALFPIPE_SECRET_KEY_FILE": str(tmp_path_factory.mktemp("secret") / "key"),
        "HALFPIPE_ALLOWED_HOSTS": "127.0.0.1",
    }


@pytest.fixture(scope="session")
def console_url(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the console, without a slash at the end."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "webui.asgi:application", "--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path_factory.mktemp("uvicorn") / "log").open("w+")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        _wait_until(lambda: _listens(port), process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        log.seek(0)
        print(log.read()[-4000:])  # noqa: T201 - pytest shows it when a test failed


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{process.args!r} is not ready after 20 s"
        time.sleep(0.05)


@pytest.fixture
def apply(transactional_db: None, redis_url: str) -> Iterator[Apply]:
    """Call a function in a thread without an event loop; its live events reach the console."""
    layers = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [{"address": redis_url, "socket_timeout": None}]},
        }
    }
    hashers = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]  # the console runs with Django's own
    with (
        override_settings(CHANNEL_LAYERS=layers, PASSWORD_HASHERS=hashers),
        ThreadPoolExecutor(1) as thread,
    ):

        def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return thread.submit(function, *args, **kwargs).result(30)

        yield run
        thread.submit(connections.close_all).result(10)


@pytest.fixture
def watched(context: BrowserContext, console_url: str) -> Iterator[list[str]]:
    """Fails the test when a page complained on its console or asked another host for anything."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        # Chromium logs answers such as 422 to a form as errors of the network; they are what the test asks for.
        if message.type in {"error", "warning"} and "the server responded with a status of 4" not in message.text:
            complaints.append(f"{message.type}: {message.text}")

    def on_request(request: Request) -> None:
        if not request.url.startswith((console_url, "data:")):
            complaints.append(f"request to {request.url}")

    context.on("console", on_console)
    context.on("weberror", lambda error: complaints.append(f"script: {error.error}"))
    context.on("request", on_request)
    yield complaints
    assert complaints == []


@pytest.fixture
def operator(apply: Apply, page: Page, console_url: str, watched: list[str]) -> Page:
    """A page of someone who is logged in and may do everything, at the dashboard."""
    assert settings.SESSION_COOKIE_SECURE is False
    apply(_make_operator)
    log_in(page, console_url)
    return page


def _make_operator() -> None:
    from django.contrib.auth.models import User  # noqa: PLC0415 - after django.setup()

    User.objects.create_superuser("ada", password=PASSWORD)


def log_in(page: Page, console_url: str, username: str = "ada", password: str = PASSWORD) -> None:
    """Through the form, as people do."""
    page.goto(console_url + "/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(console_url + "/")
