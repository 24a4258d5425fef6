"""Whether processes do their work, as supervisors ask."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from tests import factories
from tests.redis_server import RedisServer
from webui import freshness, readiness
from webui.models import CheckLease, DataplaneStatus, Installation

pytestmark = pytest.mark.django_db


def report(age: float = 0, applied: int = 0, director: str = "here") -> None:
    DataplaneStatus.objects.create(
        director=director, heartbeat_at=timezone.now() - timedelta(seconds=age), applied_revision=applied
    )


@pytest.fixture(autouse=True)
def director(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DIRECTOR", "here")


def test_a_director_that_reports_and_has_applied_everything_is_well() -> None:
    report()
    report(age=3600, director="another")
    assert readiness.problems("dataplane") == []


def test_a_director_that_never_reported_or_not_lately_is_not() -> None:
    assert readiness.problems("dataplane") == ["No dataplane worker has reported yet."]
    report(age=6)
    assert readiness.problems("dataplane")[0].startswith("here: no report since ")


def test_a_director_that_lags_behind_is_not_well() -> None:
    factories.server()
    Installation.objects.update_or_create(pk=1, defaults={"revision": 7})
    report(applied=6)
    assert readiness.problems("dataplane") == ["here: revision 6 applied, 7 wanted. "]


def lease(owner: str, age: float) -> None:
    renewed = timezone.now() - timedelta(seconds=age)
    CheckLease.objects.update_or_create(shard=0, defaults={"owner": owner, "renewed_at": renewed})


def test_a_worker_is_well_while_its_host_renews_leases() -> None:
    host = socket.gethostname()[:30]
    assert readiness.problems("worker") == ["No worker of this host holds a lease of checks."]
    lease("elsewhere:1:00", 0)
    assert readiness.problems("worker") == ["No worker of this host holds a lease of checks."]
    lease(f"{host}:1:00", 6)
    assert readiness.problems("worker")[0].startswith("The worker of this host has swept last at ")
    lease(f"{host}:1:00", 0)
    assert readiness.problems("worker") == []


def test_beat_is_well_for_ten_seconds_after_each_task(redis_server: RedisServer) -> None:
    assert readiness.problems("beat") == ["Beat has sent no task for 10 s."]
    readiness.beat_has_sent()
    assert readiness.problems("beat") == []
    assert 0 < freshness.client().ttl(readiness.BEAT_KEY) <= readiness.BEAT_KEPT
    redis_server.kill()
    assert readiness.problems("beat")[0].startswith("Redis does not answer: ")
    readiness.beat_has_sent()  # and beat goes on


class Console(BaseHTTPRequestHandler):
    status = 200
    host = ""

    def do_GET(self) -> None:
        type(self).host = self.headers["Host"]
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"The database does not answer.\n")

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Console]]:
    class One(Console):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), One) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(readiness, "WEB_PORT", server.server_port)
        yield One
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("hosts", "asked"), [(["halfpipe.example"], "halfpipe.example"), (["*"], "localhost"), ([".example"], "example")]
)
def test_the_console_is_asked_by_a_name_it_goes_by(
    console: type[Console], hosts: list[str], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", hosts)
    assert readiness.problems("web") == []
    assert console.host == asked


def test_a_console_without_its_database_is_not_well(console: type[Console]) -> None:
    console.status = 503
    assert readiness.problems("web") == ["The console answers with 503: The database does not answer."]


def test_a_console_that_is_not_there_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WEB_PORT", 1)
    assert readiness.problems("web")[0].startswith("The console does not answer on port 1: ")


def test_the_command_tells_what_is_wrong_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    report()
    call_command("healthy", "dataplane")

    def away() -> list[str]:
        message = "no connection\nto server"
        raise OperationalError(message)

    monkeypatch.setattr(readiness, "QUESTIONS", {"dataplane": away})
    told = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("healthy", "dataplane", stdout=told)
    assert ended.value.code == 1
    assert told.getvalue() == "The database does not answer: no connection to server\n"


def test_the_status_is_there_for_programs_too() -> None:
    call_command("load_example", prefix="192.0.2", stdout=StringIO())
    told = StringIO()
    with pytest.raises(SystemExit):
        call_command("halfpipe_status", json=True, stdout=told)
    found = json.loads(told.getvalue())
    assert "No dataplane worker has reported yet." in found["problems"]
    assert {(row["service"], row["address"]) for row in found["services"]} == {
        (f"service_Server{number}_ANY", "192.0.2.10") for number in (1, 2, 3)
    }
    assert {row["state"] for row in found["services"]} == {"UNKNOWN"}
