"""A probe by hand: from the ticket to the answer, with nothing left in any row."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_client
from django.apps import apps
from kombu.exceptions import OperationalError

from monitors import registry, trying
from monitors.spec import ProbeResult, ProbeSpec
from tests.monitors import rows
from tests.monitors.kinds.servers import by_hand, says, silent
from tests.ports import free_port
from tests.redis_server import redis_server
from webui import tries
from webui.celery import app
from webui.models import HealthState, Monitor, ProbeTarget, ServerPath, Service
from webui.models.sealed import seal

PASSWORD = "correct-horse"
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def store(redis_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis_client.Redis]:
    """The test's Redis, empty; tickets are handed to nobody."""
    settings.REDIS_URL = redis_url
    monkeypatch.setattr(app, "send_task", lambda *_args, **_options: None)
    with redis_client.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def one() -> tuple[Monitor, Service, ProbeTarget]:
    """A monitor and a service that is not bound to it, on loopback."""
    service = rows.service()
    return rows.monitor(resp_timeout=1), service, rows.target(service, "127.0.0.1")


def ask(one: tuple[Monitor, Service, ProbeTarget], requester: str = "user:1") -> str:
    monitor, service, target = one
    return tries.ask(requester, monitor.pk, service.pk, target.pk, monitor.resp_timeout)


def wait(ticket: str) -> tries.Try:
    """Until there is an answer."""
    deadline = time.monotonic() + 30
    while (found := tries.look(ticket)) is not None and found["state"] in {"waiting", "running"}:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    assert found is not None
    return found


def everything() -> dict[str, Any]:
    """All rows of all tables."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.app_label == "webui"
    }


def test_a_probe_answers_with_its_steps_and_changes_no_row(store: object, one: Any) -> None:
    monitor, service, target = one
    ServerPath.objects.create(
        director="d1", server=service.server, eligible=True, mac="02:00:00:00:00:01", interface="eth1"
    )
    rows.health(of=service, by=monitor, at=target, recent="PFP")
    with by_hand(silent) as port:
        Monitor.objects.filter(pk=monitor.pk).update(dest_port=port)
        before = everything()
        ticket = ask(one)
        waiting = tries.look(ticket)
        assert waiting is not None
        assert waiting["state"] == "waiting"
        assert trying.probe(ticket) is True
        found = wait(ticket)
    outcome = found["outcome"]
    assert outcome is not None
    assert outcome["passed"]
    assert outcome["message"].startswith("connected in ")
    assert [step["what"] for step in outcome["steps"]] == ["resolve", "connect", "verdict"]
    assert outcome["steps"][0]["text"] == (
        f"{rows.VIP} by way of 127.0.0.1: frames go to MAC 02:00:00:00:00:01 of {service.server.name} "
        f"({service.server.address}) on eth1, as director d1 reported"
    )
    assert everything() == before


def test_a_secret_is_in_no_key_of_redis(store: redis_client.Redis, one: Any) -> None:
    monitor = rows.monitor(monitor_type="POP3", dest_port=110, params={"user_name": "me"})
    with by_hand(says(b"+OK me\r\n", f"-ERR not {PASSWORD}\r\n".encode(), first=b"+OK hi\r\n")) as port:
        Monitor.objects.filter(pk=monitor.pk).update(dest_port=port, secrets=seal({"password": PASSWORD}))
        ticket = ask((monitor, *one[1:]))
        assert trying.probe(ticket)
        found = wait(ticket)
    assert found["outcome"] is not None
    assert not found["outcome"]["passed"]
    assert "•••" in json.dumps(found["outcome"]["steps"], ensure_ascii=False)
    for key in store.scan_iter():
        assert PASSWORD.encode() not in (store.get(key) or b"")
        assert store.ttl(key) > 0


def test_a_reversed_monitor_passes_by_a_failure(store: object, one: Any) -> None:
    Monitor.objects.filter(pk=one[0].pk).update(dest_port=free_port(), reverse=True)
    ticket = ask(one)
    trying.probe(ticket)
    outcome = wait(ticket)["outcome"]
    assert outcome is not None
    assert outcome["passed"]
    assert outcome["message"] == "connection refused, which passes a reversed monitor"


def test_a_requester_has_one_probe_at_a_time_and_others_are_not_held_up(store: object, one: Any) -> None:
    Monitor.objects.filter(pk=one[0].pk).update(dest_port=free_port())
    ticket = ask(one)
    with pytest.raises(tries.BusyError, match="still running"):
        ask(one)
    other = ask(one, "user:2")
    assert trying.probe(ticket)
    wait(ticket)
    again = ask(one)
    assert len({ticket, other, again}) == 3


def test_a_ticket_is_taken_once(store: object, one: Any) -> None:
    Monitor.objects.filter(pk=one[0].pk).update(dest_port=free_port())
    ticket = ask(one)
    assert tries.take(ticket) is not None
    assert tries.take(ticket) is None
    assert trying.probe(ticket) is False
    assert trying.probe("no-such-ticket") is False
    assert tries.look("no-such-ticket") is None


def test_without_a_worker_the_page_says_so_and_the_requester_is_free(
    store: object, one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = ask(one)
    now = time.time()
    monkeypatch.setattr("webui.tries.time.time", lambda: now + tries.PATIENCE + 0.1)
    found = tries.look(ticket)
    assert found is not None
    assert found["state"] == "problem"
    assert found["problem"].startswith("No worker took the probe within 5 s.")
    assert trying.probe(ticket) is False  # too late: nobody waits for it
    assert ask(one)


def test_a_worker_that_ended_meanwhile_is_told(store: object, one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = ask(one)
    assert tries.take(ticket) is not None
    now = time.time()
    monkeypatch.setattr("webui.tries.time.time", lambda: now + 60)
    found = tries.look(ticket)
    assert found is not None
    assert "gave no answer" in found["problem"]


@pytest.mark.parametrize("gone", [Monitor, ProbeTarget, Service])
def test_what_was_deleted_meanwhile_is_told(store: object, one: Any, gone: Any) -> None:
    ticket = ask(one)
    gone.objects.all().delete()
    assert trying.probe(ticket) is False
    assert "was deleted meanwhile" in wait(ticket)["problem"]


def test_a_type_that_does_not_exist_any_more_is_told(store: object, one: Any) -> None:
    Monitor.objects.update(monitor_type="GONE")
    ticket = ask(one)
    assert trying.probe(ticket) is False
    assert wait(ticket)["problem"] == "'GONE' is no type of monitor."


def test_a_worker_takes_a_few_at_once_and_refuses_more(store: object, one: Any) -> None:
    assert all(trying._places.acquire(blocking=False) for _ in range(trying.AT_ONCE))
    try:
        ticket = ask(one)
        assert trying.probe(ticket) is False
        assert "try again in a moment" in wait(ticket)["problem"]
    finally:
        trying._places.release(trying.AT_ONCE)


def test_a_broken_probe_is_told_and_gives_its_place_back(
    store: object, one: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_spec: ProbeSpec) -> ProbeResult:
        raise LookupError("a bug")

    monkeypatch.setattr(registry, "run", broken)
    for _ in range(trying.AT_ONCE + 1):
        ticket = ask(one)
        assert trying.probe(ticket)
        assert "the worker's log has the reason" in wait(ticket)["problem"]
        _await_end()
    assert "a bug" in caplog.text


def _await_end() -> None:
    for thread in threading.enumerate():
        if thread.name == "probe-by-hand":
            thread.join(5)


def test_the_task_does_not_wait_for_the_probe(store: object, one: Any) -> None:
    with by_hand(silent) as port:
        monitor = rows.monitor(monitor_type="FTP", dest_port=port, resp_timeout=1, params={"user_name": "me"})
        ticket = ask((monitor, *one[1:]))
        start = time.monotonic()
        assert trying.probe(ticket)
        assert time.monotonic() - start < 0.9
        assert wait(ticket)["outcome"]["message"] == "connected, no banner within 1 s"  # type: ignore[index]


def test_redis_that_is_away_is_told(settings: Any, one: Any) -> None:
    with pytest.raises(tries.UnavailableError, match="Redis does not answer, so no worker can be asked"):
        ask(one)
    with pytest.raises(tries.UnavailableError, match="so the result cannot be read"):
        tries.look("ticket")
    assert trying.probe("ticket") is False


def test_a_broker_that_is_away_gives_the_requester_free(
    store: object, one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(app, "send_task", fail)
    for _ in range(2):
        with pytest.raises(tries.UnavailableError, match="the broker does not answer"):
            ask(one)


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        ([], "no director has reported a path to"),
        ([("d1", "", "no answer to ARP")], "director d1 has no path to"),
        ([("d1", "02:00:00:00:00:01", ""), ("mine", "02:00:00:00:00:02", "")], "frames go to MAC 02:00:00:00:00:02"),
    ],
)
def test_the_first_step_tells_where_frames_go(
    one: Any, settings: Any, paths: list[tuple[str, str, str]], wanted: str
) -> None:
    settings.DIRECTOR = "mine"
    for director, mac, reason in paths:
        ServerPath.objects.create(
            director=director, server=one[1].server, eligible=bool(mac), mac=mac, interface="eth0", reason=reason
        )
    told = trying.attempt_of(*one).before
    assert len(told) == 1
    assert wanted in told[0][1]


def test_the_time_is_the_monitors_the_learned_one_or_a_minute(one: Any) -> None:
    monitor, service, target = one
    assert trying.attempt_of(*one).spec.timeout == 1.0
    Monitor.objects.filter(pk=monitor.pk).update(lrtm=True, deviation=1, resp_timeout=30)
    monitor.refresh_from_db()
    rows.health(of=service, by=monitor, at=target, average_time=0.25)
    assert trying.attempt_of(*one).spec.timeout == 1.25
    assert HealthState.objects.get().average_time == 0.25
    long = rows.monitor(interval=600, resp_timeout=500)
    attempt = trying.attempt_of(long, service, target)
    assert attempt.spec.timeout == tries.LONGEST
    assert ("limit", "ended after 60 s; checks wait up to 500 s") in attempt.before


def test_the_task_is_known_to_the_worker_by_the_name_that_the_console_sends() -> None:
    assert tries.TASK in app.tasks
    assert "monitors.trying" in app.conf.imports


@pytest.fixture
def sent(store: object, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    send: Callable[..., None] = lambda *args, **options: found.append((args, options))  # noqa: E731 - a recorder
    monkeypatch.setattr(app, "send_task", send)
    return found


def test_the_message_expires_when_nobody_waits_any_more(sent: list[tuple[Any, Any]], one: Any) -> None:
    ticket = ask(one)
    args, options = sent[0]
    assert args == (tries.TASK,)
    assert options == {"args": [ticket], "expires": tries.PATIENCE, "retry": False, "ignore_result": True}
